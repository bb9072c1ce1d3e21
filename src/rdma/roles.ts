/** The two roles in making a connection: who asks for it, and who is asked. */

import { misuse } from './misuse.js';
import type { ConnectionParameters, Established } from './verbs.js';

/** What is misuse of a connection of either role: each role overrides what it is for. */
export abstract class ConnectionRole {
  connect(_parameters?: ConnectionParameters): Promise<Established> {
    return Promise.reject(misuse('accept or reject what was requested'));
  }

  accept(_parameters?: ConnectionParameters): Promise<void> {
    return Promise.reject(misuse('there is no request to accept: connect'));
  }

  reject(_privateData?: Uint8Array): void {
    throw misuse('there is no request to reject');
  }
}
