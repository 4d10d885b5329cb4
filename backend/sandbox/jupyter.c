#include "backend/sandbox/jupyter.h"

#include <stdbool.h>
#include <string.h>

/* Runs the agent's Python with ipykernel behind everything that is the agent's own: what the
 * agent installs comes first, and its environment holds nothing that it did not ask for. */
const char jupyter_launcher[] =
	"import os, sys\n"
	"sys.path[0] = ''\n"
	"sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'kernel'))\n"
	"from ipykernel import kernelapp\n"
	"kernelapp.launch_new_instance()\n";

/* Runs Jupyter Server. To know when a kernel was last active it takes all that a kernel publishes a
 * second time, which is half of its work when a cell prints; states and results tell as much, and
 * their topics begin with "kernel.". Neither this folder nor the agent's may shadow its modules. */
const char jupyter_server_launcher[] =
	"import sys\n"
	"del sys.path[0]\n"
	"from jupyter_server import serverapp\n"
	"try:\n"
	"    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager\n"
	"    watch = MappingKernelManager.start_watching_activity\n"
	"    def start_watching_activity(self, kernel_id):\n"
	"        watch(self, kernel_id)\n"
	"        stream = getattr(self._kernels[kernel_id], '_activity_stream', None)\n"
	"        if stream is not None:\n"
	"            stream.socket.subscribe(b'kernel.')\n"
	"            stream.socket.unsubscribe(b'')\n"
	"    MappingKernelManager.start_watching_activity = start_watching_activity\n"
	"except (ImportError, AttributeError):\n"
	"    pass # a version that does it in another way\n"
	"sys.exit(serverapp.launch_new_instance())\n";

int jupyter_kernel(struct buffer *out, const char *agent_python, const char *folder)
{
	static const char format[] =
		"{\"argv\": [\"%s\", \"%s/launch.py\", \"-f\", \"{connection_file}\"], \"display_name\": \"Python 3\", "
		"\"language\": \"python\", \"metadata\": {\"debugger\": true}, "
		"\"env\": {\"PYDEVD_DISABLE_FILE_VALIDATION\": \"1\"}}\n";

	return buffer_format(out, format, agent_python, folder);
}

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static bool is_kernel(const char *requirement)
{
	return starts(requirement, "ipykernel") && !strchr("abcdefghijklmnopqrstuvwxyz-_", requirement[9] ? requirement[9] : ' ');
}

int jupyter_part(const cJSON *packages, cJSON **server, cJSON **kernel, struct error *err)
{
	const cJSON *item;
	bool jupyter = false, good = true;

	*server = cJSON_CreateArray();
	*kernel = cJSON_CreateArray();
	cJSON_ArrayForEach(item, packages)
	{
		const char *text = cJSON_GetStringValue(item);
		cJSON *copy = cJSON_CreateString(text ? text : "");

		jupyter = jupyter || (text && (starts(text, "jupyter_server") || starts(text, "jupyter-server") ||
					       starts(text, "jupyterlab") || starts(text, "notebook")));
		good = good && copy && cJSON_AddItemToArray(is_kernel(text ? text : "") ? *kernel : *server, copy);
	}
	if (!jupyter)
		good = good && cJSON_AddItemToArray(*server, cJSON_CreateString("jupyter_server"));
	if (!cJSON_GetArraySize(*kernel))
		good = good && cJSON_AddItemToArray(*kernel, cJSON_CreateString("ipykernel"));
	return good ? 0 : error_memory(err);
}
