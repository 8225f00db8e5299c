/** Asks again and again while the page is visible, and less often while nothing changes. */

const FIRST_MS = 1_000;
const SLOWEST_MS = 15_000;
const AFTER_ERROR_MS = 30_000;

export class Poller {
  #timer = 0;
  #waitMs = FIRST_MS;
  #isRunning = false;
  #isAsking = false;

  /** `ask` returns whether something has changed, and `most` how long it may wait at most, in milliseconds. */
  constructor(ask, most = () => SLOWEST_MS) {
    this.ask = ask;
    this.most = most;
    this.look = () => this.now();
  }

  start() {
    this.#isRunning = true;
    document.addEventListener("visibilitychange", this.look);
    this.now();
  }

  stop() {
    this.#isRunning = false;
    document.removeEventListener("visibilitychange", this.look);
    clearTimeout(this.#timer);
  }

  /** Ask at once, and often from now on. */
  now() {
    this.#waitMs = FIRST_MS;
    clearTimeout(this.#timer);
    if (this.#isRunning) this.#round();
  }

  async #round() {
    if (this.#isAsking || document.hidden) return;
    this.#isAsking = true;
    try {
      const changed = await this.ask();
      this.#waitMs = changed ? FIRST_MS : Math.min(this.#waitMs * 1.5, this.most());
    } catch {
      this.#waitMs = Math.min(this.#waitMs * 2, AFTER_ERROR_MS);
    } finally {
      this.#isAsking = false;
    }
    if (this.#isRunning) this.#timer = setTimeout(() => this.#round(), this.#waitMs);
  }
}
