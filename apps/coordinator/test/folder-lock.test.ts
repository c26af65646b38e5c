import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockFolder } from "../src/store/folder-lock.js";

let folder: string;
beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "rondo-lock-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const lost = (error: Error): void => {
	throw error;
};

/** A process of its own that holds the folder. */
async function holder(): Promise<ChildProcess> {
	const module = new URL("../dist/store/folder-lock.js", import.meta.url).href;
	const script = `const { lockFolder } = await import(${JSON.stringify(module)});
		await lockFolder(${JSON.stringify(folder)}, () => process.exit(3));
		process.stdout.write("held");
		setInterval(() => {}, 1000);`;
	const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
	await once(child.stdout!, "data");
	return child;
}

test("a folder is held by one process, and given back", async () => {
	const unlock = await lockFolder(folder, lost);
	await unlock();
	const again = await lockFolder(folder, lost);
	await again();
});

test("a live holder is told from a dead one", async () => {
	const child = await holder();
	await expect(lockFolder(folder, lost)).rejects.toMatchObject({
		code: "FOLDER_LOCKED",
		message: expect.stringMatching(/held by another running coordinator: stop that one, or give this one a folder of its own/) as string,
		details: { folder },
	});
	const exited = once(child, "exit");
	child.kill("SIGKILL");
	await exited;
	// The lock that the killed process left is taken over.
	const unlock = await lockFolder(folder, lost);
	await unlock();
});

test("a holder that lost its lock hears of it", async () => {
	const heard = new Promise<Error>((resolve) => {
		lockFolder(folder, resolve).catch(resolve);
	});
	const taken = setInterval(() => {
		// What another process does to the lock when it takes it over.
		utimes(join(folder, "lock"), new Date(2000), new Date(2000)).catch(() => undefined);
	}, 100);
	expect(await heard).toMatchObject({ code: "FOLDER_LOCKED", details: { folder } });
	clearInterval(taken);
});
