/* A container's GPUs, where the engine is on this machine: the same ones, with the same owners, as local
 * sandboxes have (gpu.h). Docker puts NVIDIA's in by itself, for which it needs NVIDIA's container toolkit;
 * what a CDI specification says of a device is put in here, for Docker and Podman alike. Podman's Docker API
 * takes no request for a GPU, and says nothing of it: there NVIDIA's, too, come by a specification. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/gpu.h"
#include "base/json.h"

static void tell(void *context, const char *text)
{
	sandbox_say(context, text);
}

/* object[name], an array, made where it is missing. */
static cJSON *array_in(cJSON *object, const char *name)
{
	cJSON *array = cJSON_GetObjectItemCaseSensitive(object, name);

	return array ? array : cJSON_AddArrayToObject(object, name);
}

static bool append(cJSON *array, cJSON *item)
{
	if (item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

static bool has_device(const cJSON *devices, const char *inside)
{
	const cJSON *device;

	cJSON_ArrayForEach(device, devices)
		if (!strcmp(json_string(device, "PathInContainer"), inside))
			return true;
	return false;
}

static int add_device(cJSON *host, const char *outside, const char *inside, struct error *err)
{
	cJSON *devices = array_in(host, "Devices"), *device;

	if (has_device(devices, inside)) /* what all GPUs of a kind share */
		return 0;
	if (access(outside, F_OK))
		return error_errno(err, "gpu: %s", outside);
	device = cJSON_CreateObject();
	if (!cJSON_AddStringToObject(device, "PathOnHost", outside) || !cJSON_AddStringToObject(device, "PathInContainer", inside) ||
	    !cJSON_AddStringToObject(device, "CgroupPermissions", "rw")) {
		cJSON_Delete(device);
		return error_memory(err);
	}
	return append(devices, device) ? 0 : error_memory(err);
}

static bool has_mount(const cJSON *mounts, const char *inside)
{
	const cJSON *mount;

	cJSON_ArrayForEach(mount, mounts)
		if (!strcmp(json_string(mount, "Target"), inside))
			return true;
	return false;
}

static int add_mount(cJSON *host, const char *outside, const char *inside, struct error *err)
{
	cJSON *mounts = array_in(host, "Mounts");

	if (has_mount(mounts, inside))
		return 0;
	return append(mounts, docker_bind_mount(outside, inside)) ? 0 : error_memory(err);
}

/* What a CDI specification says of one GPU. */
static int add_edits(cJSON *body, cJSON *host, const cJSON *edits, struct error *err)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "env"))
		if (cJSON_IsString(item) && !append(array_in(body, "Env"), cJSON_CreateString(item->valuestring)))
			return error_memory(err);
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "deviceNodes")) {
		const char *inside = json_string(item, "path"), *outside = json_string(item, "hostPath");

		if (inside && *inside == '/' && add_device(host, outside ? outside : inside, inside, err))
			return -1;
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "mounts")) {
		const char *outside = json_string(item, "hostPath"), *inside = json_string(item, "containerPath");

		if (outside && inside && *inside == '/' && add_mount(host, outside, inside, err))
			return -1;
	}
	return 0;
}

/* {"Driver": "nvidia", "DeviceIDs": [UUID …], "Capabilities": [["gpu"]]} */
static int add_request(cJSON *host, const struct gpus *gpus, struct error *err)
{
	cJSON *requests = array_in(host, "DeviceRequests"), *request = cJSON_CreateObject(), *ids, *every, *one;
	bool good = cJSON_AddStringToObject(request, "Driver", "nvidia");

	if (!append(requests, request))
		return error_memory(err);
	ids = cJSON_AddArrayToObject(request, "DeviceIDs");
	for (size_t i = 0; good && i < gpus->count; i++)
		good = append(ids, cJSON_CreateString(gpus->list[i].uuid));
	every = cJSON_AddArrayToObject(request, "Capabilities");
	one = cJSON_CreateArray();
	good = good && append(one, cJSON_CreateString("gpu"));
	return append(every, one) && good ? 0 : error_memory(err);
}

static int add_claimed(cJSON *body, const struct sandbox *s, const struct gpus *gpus, struct error *err)
{
	cJSON *host = cJSON_GetObjectItemCaseSensitive(body, "HostConfig"), *told = cJSON_CreateArray();

	cJSON_Delete(docker_own(s)->gpus);
	docker_own(s)->gpus = told;
	for (size_t i = 0; i < gpus->count; i++)
		if (!append(told, cJSON_CreateString(gpus->list[i].model)))
			return error_memory(err);
	if (*gpus->list[0].uuid)
		return add_request(host, gpus, err);
	for (size_t i = 0; i < gpus->count; i++)
		if (add_edits(body, host, gpus->list[i].edits, err))
			return -1;
	return 0;
}

int docker_add_gpus(cJSON *body, const struct sandbox *s, struct error *err)
{
	const char *wanted = sandbox_text(s, "gpu");
	const struct engine *engine = docker_own(s)->engine;
	struct gpus gpus;
	int result;

	if (!wanted)
		return 0;
	if (!engine_is_here(engine))
		return error_set(err, ENOTSUP, "gpu: what the engine at %s has cannot be told from here: a GPU needs an engine on this "
				 "machine", engine_address(engine));
	/* Who prepares is at rest as others see it, and what it has is free: not while it builds. */
	if (s->host->building(s->host->context, err))
		return -1;
	gpus_find(&gpus, engine_is_podman(engine), tell, (void *)(uintptr_t)s);
	result = gpus_claim(&gpus, wanted, (int)sandbox_number(s, "gpu_count", 1), s->state, s->serial, err) ||
				 add_claimed(body, s, &gpus, err) ? -1 : 0;
	if (result && err->code == ENODEV && engine_is_podman(engine) && gpus_driver())
		(void)error_set(err, ENODEV, "gpu: Podman takes NVIDIA's GPUs by a CDI specification, and none in /etc/cdi has %s: "
				"nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, and gpu: any where it has numbers", wanted);
	gpus_free(&gpus);
	return result;
}
