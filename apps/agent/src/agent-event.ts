/** Something that an agent tells: a line for people, fields for programs. */
export interface AgentEvent {
	readonly event:
		| "started"
		| "connected"
		| "trainer"
		| "offer"
		| "declined"
		| "cancelled"
		| "report"
		| "receipt"
		| "settled"
		| "warning"
		| "stopped";
	readonly text: string;
	readonly [field: string]: unknown;
}
