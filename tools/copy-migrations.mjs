// Build step of the coordinator: puts the migrations beside its compiled code, which applies them when it starts.
import { cpSync, rmSync } from "node:fs";

const to = new URL("../apps/coordinator/dist/migrations/", import.meta.url);
rmSync(to, { recursive: true, force: true });
cpSync(new URL("../prisma/migrations/", import.meta.url), to, { recursive: true });
