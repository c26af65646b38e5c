-- AlterTable
ALTER TABLE "Task" ADD COLUMN     "endsAtMs" DOUBLE PRECISION,
ADD COLUMN     "landingId" TEXT;

-- Written by hand: until now every report counted for the round of its task.
UPDATE "Task" SET "landingId" = "roundId";

ALTER TABLE "Task" ALTER COLUMN "landingId" SET NOT NULL;

-- CreateIndex
CREATE INDEX "Task_landingId_idx" ON "Task"("landingId");

-- AddForeignKey
ALTER TABLE "Task" ADD CONSTRAINT "Task_landingId_fkey" FOREIGN KEY ("landingId") REFERENCES "Round"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
