import { setTimeout as delay } from "node:timers/promises";
import { RondoError } from "@rondo/errors";
import type { Prisma, PrismaClient } from "../generated/prisma/client.js";
import { databaseErrorOf, sqlStateOf } from "./database-errors.js";

/** Where a store reports what it worked around; pino loggers fit. */
export interface StoreLog {
	warn(fields: object, message: string): void;
}

export type Transaction = Prisma.TransactionClient;

const MAX_ATTEMPTS = 10;
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1000;
// A burst of reports queues for the connections (or for the one that the embedded database has); it must not fail there.
const TRANSACTION_LIMITS = { maxWait: 60_000, timeout: 60_000 };
/** Serialisation failure and deadlock: the database has rolled the transaction back, so it may run again. */
const RETRIED_STATES: ReadonlySet<string | undefined> = new Set(["40001", "40P01"]);

/** A database with a fencing epoch, and the only way to it: named transactions that are retried. */
export class Database {
	#epoch: bigint | undefined;

	constructor(
		readonly prisma: PrismaClient,
		private readonly log: StoreLog,
	) {}

	/** The fencing epoch that this coordinator claimed. @throws FENCED before the first claim. */
	get epoch(): number {
		if (this.#epoch === undefined) throw new RondoError("FENCED", "this coordinator has not claimed a fencing epoch");
		return Number(this.#epoch);
	}

	/** Takes the next fencing epoch; waits for writes under the one before. */
	async claimEpoch(): Promise<number> {
		const [row] = await this.read(
			"claimEpoch",
			(prisma) => prisma.$queryRaw<{ epoch: bigint }[]>`
				INSERT INTO "Coordinator" (id, epoch) VALUES (1, 1)
				ON CONFLICT (id) DO UPDATE SET epoch = "Coordinator".epoch + 1 RETURNING epoch`,
		);
		this.#epoch = row!.epoch;
		return this.epoch;
	}

	/** Runs queries that need no transaction of their own. */
	read<T>(name: string, work: (prisma: PrismaClient) => Promise<T>): Promise<T> {
		return this.#retried(name, () => work(this.prisma));
	}

	/** Several queries on one connection, all or nothing, only while this coordinator holds the newest epoch. @throws FENCED. */
	write<T>(name: string, work: (tx: Transaction) => Promise<T>): Promise<T> {
		return this.#retried(name, () =>
			this.prisma.$transaction(async (tx) => {
				await this.#assertEpoch(name, tx);
				return await work(tx);
			}, TRANSACTION_LIMITS),
		);
	}

	/** Holds the epoch's row until the end of the transaction, so that a claim waits for it. */
	async #assertEpoch(name: string, tx: Transaction): Promise<void> {
		const mine = this.epoch;
		const [row] = await tx.$queryRaw<{ epoch: bigint }[]>`SELECT epoch FROM "Coordinator" WHERE id = 1 FOR SHARE`;
		if (row === undefined || Number(row.epoch) !== mine) {
			throw new RondoError(
				"FENCED",
				`"${name}" was refused: this coordinator has fencing epoch ${mine}, the database ${row?.epoch ?? "none"}`,
				{
					details: { transaction: name, epoch: mine, newest: row === undefined ? null : Number(row.epoch) },
				},
			);
		}
	}

	async #retried<T>(name: string, work: () => Promise<T>): Promise<T> {
		for (let attempt = 1; ; attempt++) {
			try {
				return await work();
			} catch (error) {
				if (!RETRIED_STATES.has(sqlStateOf(error)) || attempt === MAX_ATTEMPTS) throw databaseErrorOf(name, error);
				const pauseMs = Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
				this.log.warn({ transaction: name, attempt, pauseMs }, "transaction collided with another one and runs again");
				await delay(pauseMs);
			}
		}
	}
}
