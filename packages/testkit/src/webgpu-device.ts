/**
 * What `open` gives, or undefined where it finds no WebGPU device (a Vulkan driver; a software one will do): the tests of that
 * device are then skipped. With `RONDO_REQUIRE_WEBGPU=1` nothing is skipped.
 *
 * @throws what `open` throws, or an error if it gives nothing, when a device is required.
 */
export async function webgpuDevice<Device>(open: () => Promise<Device | null | undefined>): Promise<Device | undefined> {
	const required = process.env.RONDO_REQUIRE_WEBGPU === "1";
	try {
		const device = await open();
		if (device !== null && device !== undefined) return device;
	} catch (cause) {
		if (required) throw new Error("RONDO_REQUIRE_WEBGPU=1, and no WebGPU device could be opened", { cause });
		return undefined;
	}
	if (required) throw new Error("RONDO_REQUIRE_WEBGPU=1, and there is no WebGPU device");
	return undefined;
}
