/**
 * Receives that wait to be posted together: until this turn of the event loop is over, or something is sent. A message for which
 * no receive is posted ends a connection of iWARP's, and its receiver may be in this very process.
 */

/** A receive queue with receives that wait. */
export interface ReceivePoster {
  flush(): void;
}

const waiting: ReceivePoster[] = [];

export function postReceivesLater(poster: ReceivePoster): void {
  if (waiting.push(poster) === 1) queueMicrotask(postReceivesNow);
}

export function postReceivesNow(): void {
  for (let poster; (poster = waiting.pop()) !== undefined;) poster.flush();
}
