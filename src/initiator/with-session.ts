/** A session for as long as something takes. */

import { Session } from './session.js';
import type { SessionOptions } from './session-options.js';

/**
 * Open a session, and log out when `use` is over. When the signal is aborted, the session is logged out at once, and
 * what `use` waits for fails.
 *
 * @throws what {@link Session.open} and `use` throw; the signal's reason when it is aborted
 */
export async function withSession<T>(
  options: SessionOptions,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await Session.open(options);
  const { signal } = options;
  const leave = (): void => void session.close();
  signal?.addEventListener('abort', leave, { once: true });
  try {
    return await use(session);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', leave);
    await session.close();
  }
}
