import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Notifier } from './notifier.js';

/** What a notifier has put off, and a log of what its listeners were told. */
function make() {
  const later: (() => void)[] = [];
  const told: string[] = [];
  const notifier = new Notifier((run) => later.push(run));
  const listener = (name: string, act: () => void = () => undefined) => ({
    notify: () => {
      told.push(name);
      act();
    },
  });
  const runLater = (): void => {
    for (const run of later.splice(0)) run();
  };
  return { notifier, told, listener, runLater };
}

describe('Notifier', () => {
  it('tells after the call that caused it, and at the end of the input that brought it', () => {
    const { notifier, told, listener, runLater } = make();
    notifier.add(listener('called'));
    assert.deepEqual(told, []);
    runLater();
    assert.deepEqual(told, ['called']);
    notifier.enter();
    notifier.add(listener('input'));
    assert.deepEqual(told, ['called']);
    notifier.leave();
    assert.deepEqual(told, ['called', 'input']);
  });

  it('tells at once what the listeners cause', () => {
    const { notifier, told, listener } = make();
    notifier.enter();
    notifier.add(
      listener('first', () => {
        notifier.add(listener('third'));
      }),
    );
    notifier.add(listener('second'));
    notifier.leave();
    assert.deepEqual(told, ['first', 'second', 'third']);
  });

  it('throws later what a listener throws: the others are told, and so is all that follows', () => {
    const { notifier, told, listener, runLater } = make();
    notifier.enter();
    notifier.add(
      listener('bad', () => {
        throw new Error('of a listener');
      }),
    );
    notifier.add(listener('good'));
    notifier.leave();
    assert.deepEqual(told, ['bad', 'good']);
    assert.throws(runLater, /of a listener/);
    notifier.add(listener('next'));
    runLater();
    assert.deepEqual(told, ['bad', 'good', 'next']);
  });
});
