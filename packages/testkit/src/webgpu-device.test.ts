import { afterEach, describe, expect, it, vi } from "vitest";
import { webgpuDevice } from "./webgpu-device.js";

afterEach(() => vi.unstubAllEnvs());
const device = { name: "device" };
const none = async (): Promise<null> => null;
const broken = async (): Promise<never> => {
	throw new Error("no libvulkan");
};

describe("webgpuDevice", () => {
	it("gives the device, required or not", async () => {
		for (const value of ["", "1"]) {
			vi.stubEnv("RONDO_REQUIRE_WEBGPU", value);
			expect(await webgpuDevice(async () => device)).toBe(device);
		}
	});

	it("gives nothing without a device, so that tests can be skipped", async () => {
		vi.stubEnv("RONDO_REQUIRE_WEBGPU", "");
		expect(await webgpuDevice(none)).toBeUndefined();
		expect(await webgpuDevice(broken)).toBeUndefined();
	});

	it("fails without a device where one is required", async () => {
		vi.stubEnv("RONDO_REQUIRE_WEBGPU", "1");
		await expect(webgpuDevice(none)).rejects.toThrow(/RONDO_REQUIRE_WEBGPU/);
		await expect(webgpuDevice(broken)).rejects.toMatchObject({ cause: { message: "no libvulkan" } });
	});
});
