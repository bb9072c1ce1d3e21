/** Everything that `npm run fuzz` is let loose on. */

import { CommandsSurface } from './commands/surface.js';
import { LoginSurface } from './connections/login-surface.js';
import { SessionSurface } from './connections/session-surface.js';
import type { Surface } from './engine/surface.js';

export const surfaces = (): Surface<unknown, unknown>[] =>
  [new CommandsSurface(), new LoginSurface(), new SessionSurface()] as Surface<unknown, unknown>[];
