/** What upserts of a collection pass through, so that they can be held for the moment in which another generation takes over. */
export class WriteGate {
  private held: Promise<void> | undefined;
  private readonly inside = new Set<Promise<unknown>>();

  /** Runs the write, after the gate has opened. */
  async pass<T>(write: () => Promise<T>): Promise<T> {
    while (this.held) await this.held;
    const writing = write();
    this.inside.add(writing);
    try {
      return await writing;
    } finally {
      this.inside.delete(writing);
    }
  }

  /**
   * Holds writes from now on. @returns when those that were let through have settled: what opens the gate again.
   * A gate that is held already is waited for first.
   */
  async hold(): Promise<() => void> {
    while (this.held) await this.held;
    let open = (): void => {};
    this.held = new Promise((resolve) => {
      open = () => {
        this.held = undefined;
        resolve();
      };
    });
    await Promise.allSettled([...this.inside]);
    return open;
  }
}
