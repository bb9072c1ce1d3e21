/** A plot of I/Os a second on a terminal's standard error, drawn anew every half second. */

const INTERVAL_MS = 500;
const HEIGHT = 10;
/** Columns of the axis' labels. */
const LABEL = 10;

/** `count` tells how many I/Os there were up to now. */
export async function startPlot(count: () => number): Promise<{ stop(): void }> {
  const { default: asciichart } = await import('asciichart');
  const rates: number[] = [];
  let before = { count: count(), time: performance.now() };
  let lines = 0;
  const draw = (): void => {
    const now = { count: count(), time: performance.now() };
    rates.push(((now.count - before.count) * 1000) / (now.time - before.time));
    before = now;
    const width = Math.max(10, process.stderr.columns - LABEL - 3);
    if (rates.length > width) rates.shift();
    const format = (rate: number): string => rate.toFixed(0).padStart(LABEL);
    const plot = asciichart.plot(rates, { height: HEIGHT, min: 0, format });
    // Up to where the last one began, and clear what was below.
    const home = lines === 0 ? '' : `\x1b[${lines}A\x1b[0J`;
    process.stderr.write(`${home}I/Os a second: ${rates.at(-1)!.toFixed(0)}\n${plot}\n`);
    lines = plot.split('\n').length + 1;
  };
  const timer = setInterval(draw, INTERVAL_MS);
  return {
    stop: () => {
      clearInterval(timer);
    },
  };
}
