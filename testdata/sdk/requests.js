// Registers a device, asks for its fleet's config.json and for its status by balena's own SDK. Inputs come as JSON in INPUT,
// the answers go to standard output as JSON.
const { getSdk } = require('balena-sdk');

const main = async () => {
	const input = JSON.parse(process.env.INPUT);
	const sdk = getSdk({ apiUrl: input.url, dataDirectory: input.dir });
	await sdk.auth.loginWithToken(input.token);
	const unique = sdk.models.device.generateUniqueKey();
	const registered = await sdk.models.device.register(input.fleet, input.uuid, input.deviceType);
	const config = await sdk.models.os.getConfig(input.fleet, {
		version: input.version,
		deviceType: input.deviceType,
		appUpdatePollInterval: input.poll,
		provisioningKeyName: input.keyName,
	});
	const device = await sdk.models.device.get(input.uuid, { $select: input.select });
	console.log(JSON.stringify({ unique, registered, config, device }));
};

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
