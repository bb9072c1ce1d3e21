/** What a login asks of a target that lets everybody in, one session at a time. */

import { type LoginPolicy, LoginStatus } from '../../src/iscsi/index.js';
import { TARGET_NAME } from './target.js';

export const LONE_TARGET: LoginPolicy = {
  findTarget: (name) =>
    name === TARGET_NAME
      ? { name, portalGroupTag: 1, alias: null }
      : { refusal: LoginStatus.NOT_FOUND, reason: 'no such target' },
  admit: () => null,
  findSession: () => null,
  openSession: () => ({ tsih: 1 }),
};
