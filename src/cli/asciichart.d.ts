/** What Riser uses of the package asciichart, which has no types. */
declare module 'asciichart' {
  interface PlotOptions {
    /** Lines. */
    height?: number;
    min?: number;
    max?: number;
    /** A label of the axis. */
    format?: (value: number) => string;
  }
  const asciichart: { plot(series: readonly number[], options?: PlotOptions): string };
  export default asciichart;
}
