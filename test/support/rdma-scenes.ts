/** Scenes for a group of tests: a stage of its own, and for each test a scene, closed and thereby checked after it. */

import { after, afterEach, before } from 'node:test';
import type { IwarpOptions } from '../../src/rdma/iwarp/device.js';
import { Scene, type SceneOptions, Stage } from './rdma-scene.js';

/** What the victim grants in most attacks: so many bytes of its memory from there on. */
export const AT = 10_000;
export const LENGTH = 1000;

export class Scenes {
  #stage!: Stage;
  #scene: Scene | null = null;

  /** To be called within a `describe`. */
  constructor(options: IwarpOptions = {}) {
    before(async () => {
      this.#stage = await Stage.set(options);
    });
    afterEach(async () => {
      const scene = this.#scene;
      this.#scene = null;
      await scene?.close();
    });
    after(async () => {
      await this.#stage.close();
    });
  }

  /** The scene of the test that runs. */
  async open(options?: SceneOptions): Promise<Scene> {
    this.#scene = await Scene.open(this.#stage, options);
    return this.#scene;
  }
}
