/** Events in a stream of kind `sse`. */
export const EVENTS_A_STREAM = 200;
