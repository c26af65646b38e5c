import { scaleLinear } from "d3-scale";
import { area, line } from "d3-shape";
import { slugOf } from "./experiment.js";
import type { CurvePoint, Results, Row } from "./results.js";

/** A figure and the setting that it belongs to. */
export interface Plot {
	/** Relative to the results. */
	readonly file: string;
	readonly setting: string;
	readonly title: string;
	readonly svg: string;
}

interface Axis {
	readonly name: string;
	readonly label: string;
	readonly of: (point: CurvePoint) => number;
}

const AXES: readonly Axis[] = [
	{ name: "rounds", label: "rounds", of: ({ round }) => round },
	{ name: "bytes", label: "MB sent and received by all clients", of: ({ bytes }) => bytes / 1e6 },
	{ name: "seconds", label: "seconds of virtual time", of: ({ virtualSeconds }) => virtualSeconds },
];
/** Okabe and Ito's colours, which people with colour blindness can tell apart, without the yellow. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];
const [WIDTH, HEIGHT] = [640, 360];
const MARGIN = { top: 34, right: 16, bottom: 44, left: 56 };
const LEGEND_LINE = 18;
/** Of a legend in three columns, of one in two; longer ones have a line each. */
const LONGEST_LABELS = [25, 42] as const;

/** Every metric against rounds, bytes and, where time passes, virtual time; or those of them that `about.plots` names. */
export function plotsOf({ about, rows }: Results): Plot[] {
	const settings = [...new Set(rows.map(({ setting }) => setting))];
	return settings.flatMap((setting) => {
		const own = rows.filter((row) => row.setting === setting && row.curve.length > 1);
		const metrics = [...new Set(own.flatMap(({ curve }) => Object.keys(curve[0]!.metrics)))];
		const isTimed = own.some(({ curve }) => curve.at(-1)!.virtualSeconds > 0);
		return AXES.filter(({ name }) => name !== "seconds" || isTimed).flatMap((axis) =>
			metrics
				.filter((metric) => isWanted(about.plots, metric, axis.name, setting))
				.map((metric) => {
					const title = `${metric} against ${axis.name}${setting === "" ? "" : `, ${setting}`}`;
					const name = [slugOf(setting), slugOf(metric), axis.name].filter(Boolean).join("-");
					return { file: `plots/${name}.svg`, setting, title, svg: figure(own, metric, axis, title) };
				}),
		);
	});
}

function isWanted(choices: Results["about"]["plots"], metric: string, axis: string, setting: string): boolean {
	return (
		choices?.some((choice) => choice.metric === metric && choice.axis === axis && (choice.settings?.includes(setting) ?? true)) ?? true
	);
}

/** Lines are means over the seeds, bands reach from the least to the largest. */
function figure(rows: readonly Row[], metric: string, axis: Axis, title: string): string {
	const series = rows.map(({ strategy, curve }) => ({ strategy, points: curve.filter(({ metrics }) => metrics[metric] !== undefined) }));
	const longest = Math.max(...rows.map(({ strategy }) => strategy.length));
	const columns = longest <= LONGEST_LABELS[0] ? 3 : longest <= LONGEST_LABELS[1] ? 2 : 1;
	const all = series.flatMap(({ points }) => points);
	const ys = all.flatMap(({ metrics }) => [metrics[metric]!.min, metrics[metric]!.max]);
	const height = HEIGHT + LEGEND_LINE * Math.ceil(series.length / columns);
	const x = scaleLinear()
		.domain([0, Math.max(...all.map(axis.of))])
		.range([MARGIN.left, WIDTH - MARGIN.right]);
	const y = scaleLinear()
		.domain([Math.min(...ys), Math.max(...ys)])
		.nice()
		.range([HEIGHT - MARGIN.bottom, MARGIN.top]);
	const parts = [
		`<text x="${WIDTH / 2}" y="20" text-anchor="middle" font-size="14">${escaped(title)}</text>`,
		...y
			.ticks(6)
			.flatMap((tick) => [
				`<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${round(y(tick))}" y2="${round(y(tick))}" stroke="#ddd"/>`,
				`<text x="${MARGIN.left - 6}" y="${round(y(tick) + 4)}" text-anchor="end">${escaped(y.tickFormat(6)(tick))}</text>`,
			]),
		...x
			.ticks(8)
			.flatMap((tick) => [
				`<line x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom + 4}" stroke="#333"/>`,
				`<text x="${round(x(tick))}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${escaped(x.tickFormat(8)(tick))}</text>`,
			]),
		`<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom}" stroke="#333"/>`,
		`<text x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(axis.label)}</text>`,
	];
	for (const [i, { strategy, points }] of series.entries()) {
		const colour = COLOURS[i % COLOURS.length]!;
		const dash = i < COLOURS.length ? "" : ' stroke-dasharray="5 3"';
		const band = area<CurvePoint>()
			.x((point) => round(x(axis.of(point))))
			.y0(({ metrics }) => round(y(metrics[metric]!.min)))
			.y1(({ metrics }) => round(y(metrics[metric]!.max)));
		const course = line<CurvePoint>()
			.x((point) => round(x(axis.of(point))))
			.y(({ metrics }) => round(y(metrics[metric]!.mean)));
		if (points.some(({ metrics }) => metrics[metric]!.count > 1)) parts.push(`<path d="${band(points)}" fill="${colour}" opacity="0.15"/>`);
		parts.push(`<path d="${course(points)}" fill="none" stroke="${colour}" stroke-width="1.8"${dash}/>`);
		const left = MARGIN.left + ((WIDTH - MARGIN.left) / columns) * (i % columns);
		const top = HEIGHT + LEGEND_LINE * Math.floor(i / columns) + 6;
		parts.push(
			`<line x1="${round(left)}" x2="${round(left + 18)}" y1="${top - 4}" y2="${top - 4}" stroke="${colour}" stroke-width="3"${dash}/>`,
			`<text x="${round(left + 24)}" y="${top}">${escaped(strategy)}</text>`,
		);
	}
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12" fill="#222" role="img"><title>${escaped(title)}</title><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>\n`;
}

/** Tenths of a pixel keep files small and equal where means are. */
const round = (pixels: number): number => Math.round(pixels * 10) / 10;

const escaped = (text: string): string =>
	text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
