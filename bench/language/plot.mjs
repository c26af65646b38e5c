import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";

const [WIDTH, HEIGHT] = [420, 320];
const MARGIN = { top: 30, right: 12, bottom: 44, left: 48 };
const LEGEND_LINE = 18;
/** Okabe and Ito's colours, which people with colour blindness can tell apart. */
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00"];
const tenth = (pixels) => Math.round(pixels * 10) / 10;

/** One panel: held-out loss against a quantity, on a logarithmic axis; its first point stands at the left edge. */
function panel(series, label, of, left) {
	const values = series.flatMap(({ points }) => points.slice(1).map(of));
	const losses = series.flatMap(({ points }) => points.map(({ loss }) => loss));
	const x = scaleLog()
		.domain([Math.min(...values), Math.max(...values)])
		.range([left + MARGIN.left, left + WIDTH - MARGIN.right]);
	const y = scaleLinear()
		.domain([Math.min(...losses), Math.max(...losses)])
		.nice()
		.range([HEIGHT - MARGIN.bottom, MARGIN.top]);
	const [from, to] = x.range();
	const labels = x.tickFormat(4, "~s");
	return [
		...y
			.ticks(6)
			.flatMap((tick) => [
				`<line x1="${from}" x2="${to}" y1="${tenth(y(tick))}" y2="${tenth(y(tick))}" stroke="#ddd"/>`,
				`<text x="${from - 6}" y="${tenth(y(tick) + 4)}" text-anchor="end">${tick}</text>`,
			]),
		...x
			.ticks(4)
			.flatMap((tick) => [
				`<line x1="${tenth(x(tick))}" x2="${tenth(x(tick))}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom + 5}" stroke="#333"/>`,
				`<text x="${tenth(x(tick))}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${labels(tick)}</text>`,
			]),
		`<line x1="${from}" x2="${to}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom}" stroke="#333"/>`,
		`<text x="${(from + to) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${label}</text>`,
		...series.map(({ points }, i) => {
			const course = line()
				.x((point) => tenth(of(point) === 0 ? from : x(of(point))))
				.y(({ loss }) => tenth(y(loss)));
			return `<path d="${course(points)}" fill="none" stroke="${COLOURS[i]}" stroke-width="2"/>`;
		}),
	];
}

/**
 * Held-out loss against bytes and against seconds, side by side.
 * @param {{ label: string, points: { loss: number, bytes: number, seconds: number }[] }[]} series at most four
 */
export function lossPlot(title, series) {
	const [width, height] = [2 * WIDTH, HEIGHT + LEGEND_LINE + 6];
	const parts = [
		`<text x="${width / 2}" y="18" text-anchor="middle" font-size="14">${title}</text>`,
		...panel(series, "bytes sent and received per client, beyond the first model", ({ bytes }) => bytes, 0),
		...panel(series, "seconds of computing", ({ seconds }) => seconds, WIDTH),
		...series.flatMap(({ label }, i) => {
			const left = MARGIN.left + i * 190;
			return [
				`<line x1="${left}" x2="${left + 18}" y1="${HEIGHT + 8}" y2="${HEIGHT + 8}" stroke="${COLOURS[i]}" stroke-width="3"/>`,
				`<text x="${left + 24}" y="${HEIGHT + 12}">${label}</text>`,
			];
		}),
	];
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" fill="#222" role="img"><title>${title}</title><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>\n`;
}
