import { RondoError } from "@rondo/errors";
import type { Services } from "../services.js";
import type { RunRow } from "../store/store.js";

/**
 * The run with this id or name.
 * @throws NOT_FOUND
 */
export async function findRun(services: Services, idOrName: string): Promise<RunRow> {
	const run = await services.store.getRun(idOrName);
	if (run === null)
		throw new RondoError("NOT_FOUND", `no run has the id or name ${JSON.stringify(idOrName)}`, {
			details: { field: "id", value: idOrName },
		});
	return run;
}
