-- CreateTable
CREATE TABLE "Coordinator" (
    "id" INTEGER NOT NULL,
    "epoch" BIGINT NOT NULL,

    CONSTRAINT "Coordinator_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "AuditRecord" (
    "id" BIGSERIAL NOT NULL,
    "at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "actor" TEXT NOT NULL,
    "action" TEXT NOT NULL,
    "subject" TEXT NOT NULL,
    "details" JSONB NOT NULL,

    CONSTRAINT "AuditRecord_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Token" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "scope" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expiresAt" TIMESTAMP(3),
    "usesLeft" INTEGER,
    "revokedAt" TIMESTAMP(3),

    CONSTRAINT "Token_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Client" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "credentialHash" TEXT NOT NULL,
    "role" TEXT NOT NULL,
    "installationNonce" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "lastSeenAt" TIMESTAMP(3),
    "session" BIGINT NOT NULL DEFAULT 0,
    "revokedAt" TIMESTAMP(3),

    CONSTRAINT "Client_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Model" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "weights" TEXT NOT NULL,
    "parameters" BIGINT NOT NULL,
    "layout" JSONB NOT NULL,
    "manifest" JSONB NOT NULL,

    CONSTRAINT "Model_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Run" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "endedAt" TIMESTAMP(3),
    "modelId" TEXT NOT NULL,
    "strategy" TEXT NOT NULL,
    "strategyVersion" INTEGER NOT NULL,
    "config" BYTEA NOT NULL,
    "settings" JSONB NOT NULL,
    "publicSeed" TEXT NOT NULL,
    "secretSeed" TEXT NOT NULL,
    "incarnation" INTEGER NOT NULL DEFAULT 1,
    "phase" TEXT NOT NULL DEFAULT 'created',
    "reason" TEXT,
    "ending" TEXT,
    "commit" INTEGER NOT NULL DEFAULT 0,
    "rounds" INTEGER NOT NULL DEFAULT 0,
    "misses" INTEGER NOT NULL DEFAULT 0,
    "state" BYTEA NOT NULL,
    "logHead" TEXT NOT NULL,
    "result" JSONB,

    CONSTRAINT "Run_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Round" (
    "id" TEXT NOT NULL,
    "runId" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "track" INTEGER NOT NULL DEFAULT 0,
    "round" INTEGER NOT NULL,
    "attempt" INTEGER NOT NULL,
    "commit" INTEGER NOT NULL,
    "phase" TEXT NOT NULL,
    "plan" BYTEA NOT NULL,
    "waitLeftMs" DOUBLE PRECISION NOT NULL,
    "leftMs" DOUBLE PRECISION NOT NULL,
    "population" INTEGER NOT NULL,
    "payload" BYTEA,
    "setDigest" TEXT,
    "accepted" INTEGER NOT NULL DEFAULT 0,
    "reason" TEXT,
    "openedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "closedAt" TIMESTAMP(3),
    "metrics" JSONB NOT NULL DEFAULT '{}',
    "scores" JSONB NOT NULL DEFAULT '{}',

    CONSTRAINT "Round_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Task" (
    "id" TEXT NOT NULL,
    "roundId" TEXT NOT NULL,
    "clientId" TEXT NOT NULL,
    "slot" INTEGER NOT NULL,
    "phase" TEXT NOT NULL,
    "payload" BYTEA NOT NULL,
    "carryBasis" TEXT,
    "leasedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "deliveredAt" TIMESTAMP(3),
    "endedAt" TIMESTAMP(3),
    "reason" TEXT,
    "outcome" TEXT,
    "settledCommit" INTEGER,
    "bytesDown" BIGINT NOT NULL DEFAULT 0,
    "bytesUp" BIGINT NOT NULL DEFAULT 0,

    CONSTRAINT "Task_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Report" (
    "taskId" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "content" BYTEA NOT NULL,
    "numExamples" BIGINT NOT NULL,
    "staleness" INTEGER NOT NULL DEFAULT 0,
    "sequence" INTEGER NOT NULL,
    "acceptedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Report_pkey" PRIMARY KEY ("taskId")
);

-- CreateTable
CREATE TABLE "Member" (
    "runId" TEXT NOT NULL,
    "clientId" TEXT NOT NULL,
    "value" BYTEA NOT NULL,

    CONSTRAINT "Member_pkey" PRIMARY KEY ("runId","clientId")
);

-- CreateTable
CREATE TABLE "LogEntry" (
    "runId" TEXT NOT NULL,
    "commit" INTEGER NOT NULL,
    "hash" TEXT NOT NULL,
    "entry" BYTEA NOT NULL,
    "accepted" BYTEA NOT NULL,
    "at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "LogEntry_pkey" PRIMARY KEY ("runId","commit")
);

-- CreateIndex
CREATE UNIQUE INDEX "Token_hash_key" ON "Token"("hash");

-- CreateIndex
CREATE UNIQUE INDEX "Client_credentialHash_key" ON "Client"("credentialHash");

-- CreateIndex
CREATE UNIQUE INDEX "Model_name_key" ON "Model"("name");

-- CreateIndex
CREATE UNIQUE INDEX "Run_name_key" ON "Run"("name");

-- CreateIndex
CREATE INDEX "Run_phase_idx" ON "Run"("phase");

-- CreateIndex
CREATE INDEX "Round_runId_phase_idx" ON "Round"("runId", "phase");

-- CreateIndex
CREATE UNIQUE INDEX "Round_runId_kind_round_attempt_key" ON "Round"("runId", "kind", "round", "attempt");

-- CreateIndex
CREATE INDEX "Task_roundId_idx" ON "Task"("roundId");

-- CreateIndex
CREATE INDEX "Task_clientId_outcome_idx" ON "Task"("clientId", "outcome");

-- AddForeignKey
ALTER TABLE "Run" ADD CONSTRAINT "Run_modelId_fkey" FOREIGN KEY ("modelId") REFERENCES "Model"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Round" ADD CONSTRAINT "Round_runId_fkey" FOREIGN KEY ("runId") REFERENCES "Run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Task" ADD CONSTRAINT "Task_roundId_fkey" FOREIGN KEY ("roundId") REFERENCES "Round"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Task" ADD CONSTRAINT "Task_clientId_fkey" FOREIGN KEY ("clientId") REFERENCES "Client"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Report" ADD CONSTRAINT "Report_taskId_fkey" FOREIGN KEY ("taskId") REFERENCES "Task"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "Member" ADD CONSTRAINT "Member_runId_fkey" FOREIGN KEY ("runId") REFERENCES "Run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "LogEntry" ADD CONSTRAINT "LogEntry_runId_fkey" FOREIGN KEY ("runId") REFERENCES "Run"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- The audit record is append-only. Written by hand: the schema language has no triggers.
CREATE FUNCTION "refuseAuditChange"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'AuditRecord is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER "AuditRecord_append_only"
    BEFORE UPDATE OR DELETE OR TRUNCATE ON "AuditRecord"
    FOR EACH STATEMENT EXECUTE FUNCTION "refuseAuditChange"();
