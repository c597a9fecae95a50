/** One deployment or re-embedding at a time: who wants to change models waits for its turn, or is told that it is taken. */
export class DeploymentTurn {
  private holder: string | undefined;
  private waiting: (() => void)[] = [];

  /** The job that has the turn. */
  get takenBy(): string | undefined {
    return this.holder;
  }

  /** Runs `work` when it is the job's turn. @throws the signal's reason where it is aborted while it waits. */
  async take<Result>(job: string, signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    while (this.holder !== undefined) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    signal.throwIfAborted();
    this.holder = job;
    try {
      return await work();
    } finally {
      this.holder = undefined;
      for (const wake of this.waiting.splice(0)) wake();
    }
  }
}
