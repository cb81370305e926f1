/** An agent chose the model's name: no line break of its may begin an assignment to the service manager. */
export function oneLine(model: string): string {
  return model.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
}
