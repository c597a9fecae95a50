/**
 * Changes that must not run beside one another, by name: each waits for those of its names that were asked for before it,
 * however they end. Changes of other names go on.
 */
export class Turns {
  /** name -> the end of the last change that was asked for */
  private readonly ends = new Map<string, Promise<void>>();

  /** A change that takes a turn of the same name inside would wait for itself. */
  async take<T>(names: readonly string[], change: () => Promise<T>): Promise<T> {
    const turn = Promise.all(names.map((name) => this.ends.get(name))).then(change);
    const end = turn.then(
      () => {},
      () => {},
    );
    for (const name of names) this.ends.set(name, end);
    await end;
    for (const name of names) if (this.ends.get(name) === end) this.ends.delete(name);
    return turn;
  }
}
