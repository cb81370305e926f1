/** The thread that a state.db is written on. */
import { type Request, RequestServer } from './requests.js';
import { serveOnThread } from './thread-connection.js';

const server = new RequestServer();

serveOnThread((request: Request) => server.serve(request));
