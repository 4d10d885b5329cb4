/* The tools of a sandbox. All of them are commands run inside it, so that they see what the agent
 * sees and may what it may; what is read and written has no path on the host. */
#include "mcp/tools.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/picture.h"

#define PIECE_MAX (256u << 10)  /* of a file that is written: the guest takes 1 MiB of input */
#define READ_MAX PICTURE_BYTES_MAX

/* Calls `run` with the object; takes it over (NULL: out of memory). */
static int run(struct tool_call *call, cJSON *object, struct error *err)
{
	char *text = object ? cJSON_PrintUnformatted(object) : NULL;
	int status;

	cJSON_Delete(object);
	if (!text)
		return error_memory(err);
	status = tool_ask(call, "run", text, strlen(text), err);
	cJSON_free(text);
	return status;
}

/* {key: text} with the call's timeout and cwd. */
static int run_text(struct tool_call *call, const char *key, const char *text, struct error *err)
{
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(call->arguments, "timeout");
	const char *cwd = tool_string(call, "cwd");
	cJSON *object = cJSON_CreateObject();

	if (!object || !cJSON_AddStringToObject(object, key, text) ||
	    (cwd && !cJSON_AddStringToObject(object, "cwd", cwd)) ||
	    (cJSON_IsNumber(timeout) && !cJSON_AddNumberToObject(object, "timeout", timeout->valuedouble))) {
		cJSON_Delete(object);
		object = NULL;
	}
	return run(call, object, err);
}

/* argv (NULL-terminated) with the text as its standard input; NULL: none. */
static int run_program(struct tool_call *call, const char *const *argv, const char *input, struct error *err)
{
	cJSON *object = cJSON_CreateObject(), *list;
	int n = 0;

	while (argv[n])
		n++;
	list = object ? cJSON_CreateStringArray(argv, n) : NULL;
	if (!list || !cJSON_AddItemToObject(object, "argv", list) ||
	    (input && !cJSON_AddStringToObject(object, "input", input))) {
		cJSON_Delete(object);
		object = NULL;
	}
	return run(call, object, err);
}

/* Standard output, then standard error. */
static int describe_command(struct tool_call *call, struct buffer *text)
{
	if (excerpt_text(&call->out, text) < 0)
		return -1;
	if (!call->err.total)
		return 0;
	if (buffer_text(text, text->length && text->data[text->length - 1] != '\n' ? "\n[stderr]\n" : "[stderr]\n") < 0)
		return -1;
	return excerpt_text(&call->err, text);
}

/* The output, then the exit status where it is not 0. */
static int finish_command(struct tool_call *call, int exit, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);

	if (describe_command(call, &text) < 0)
		return error_memory(err);
	if (exit != 0 && buffer_format(&text, "%s[exit %d]", text.length && text.data[text.length - 1] != '\n' ?
				       "\n" : "", exit) < 0)
		return error_memory(err);
	if (!text.length && buffer_text(&text, "[no output]") < 0)
		return error_memory(err);
	call->is_error = exit != 0;
	return tool_add_text(call, text.data, err);
}

static int begin_command(struct tool_call *call, struct error *err)
{
	return run_text(call, "shell", tool_string(call, "command"), err);
}

static int begin_python(struct tool_call *call, struct error *err)
{
	return run_text(call, "python", tool_string(call, "code"), err);
}

static int begin_read(struct tool_call *call, struct error *err)
{
	/* Redirected first, so that what is wrong with the file is said once and is the exit status. */
	static const char script[] =
		"[ ! -d \"$1\" ] || { echo \"$1: is a directory\" >&2; exit 1; }\n"
		"exec <\"$1\" || exit 1\n"
		"[ -n \"$2$3\" ] || exec head -c \"$4\"\n"
		"tail -n \"+${2:-1}\" | head -n \"${3:-1000000000}\" | head -c \"$4\"\n";
	double offset = tool_number(call, "offset", 0), limit = tool_number(call, "limit", 0);
	char from[32] = "", lines[32] = "", most[32];
	const char *const argv[] = { "sh", "-c", script, "sh", tool_string(call, "path"), from, lines, most, NULL };

	if (offset > 0)
		(void)snprintf(from, sizeof from, "%.0f", offset);
	if (limit > 0)
		(void)snprintf(lines, sizeof lines, "%.0f", limit);
	(void)snprintf(most, sizeof most, "%u", READ_MAX + 1);
	return run_program(call, argv, NULL, err);
}

static int finish_read(struct tool_call *call, int exit, struct error *err)
{
	const char *data = call->whole.data, *type = picture_type(data ? data : "", call->whole.length);
	size_t n = call->whole.length;
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);
	struct excerpt kept;
	struct picture picture;
	struct error why;
	bool binary = n && memchr(data, '\0', n < 8000 ? n : 8000);
	int status;

	if (exit != 0) {
		call->is_error = true;
		if (excerpt_text(&call->err, &text) < 0)
			return error_memory(err);
		return tool_add_text(call, text.length ? text.data : "it cannot be read", err);
	}
	if (type && picture_check(type, data, n, &picture, &why) == 0) {
		unsigned char *base64 cleanup_free = malloc((n + 2) / 3 * 4 + 1);

		if (!base64)
			return error_memory(err);
		(void)EVP_EncodeBlock(base64, (const unsigned char *)data, (int)n);
		return tool_add_picture(call, type, (const char *)base64, err);
	}
	if (binary) {
		if ((type ? buffer_format(&text, "[%s, not shown: %s]", type, why.text) :
			    buffer_format(&text, "[not text: %s%zu bytes]", n > READ_MAX ? "more than " : "",
					  n > READ_MAX ? (size_t)READ_MAX : n)) < 0)
			return error_memory(err);
		return tool_add_text(call, text.data, err);
	}
	excerpt_init(&kept, TOOL_TEXT_MAX);
	status = n > READ_MAX ? -2 : 0;
	if (excerpt_add(&kept, data, n) < 0 || excerpt_text(&kept, &text) < 0 ||
	    (status == -2 && buffer_text(&text, "\n[the file goes on; give offset and limit]") < 0) ||
	    (!text.length && buffer_text(&text, "[empty]") < 0))
		status = -1;
	excerpt_free(&kept);
	return status == -1 ? error_memory(err) : tool_add_text(call, text.data, err);
}

/* The next piece of the content, cut between characters. */
static int write_piece(struct tool_call *call, struct error *err)
{
	static const char first[] = "mkdir -p -- \"$(dirname -- \"$1\")\" && cat >\"$1\"";
	static const char next[] = "cat >>\"$1\"";
	const char *content = tool_string(call, "content") + call->at;
	const char *const argv[] = { "sh", "-c", call->at ? next : first, "sh", tool_string(call, "path"), NULL };
	size_t n = strlen(content);
	char *piece cleanup_free = NULL;

	if (n > PIECE_MAX) {
		n = PIECE_MAX;
		while (n && ((unsigned char)content[n] & 0xc0) == 0x80)
			n--;
	}
	piece = strndup(content, n);
	if (!piece)
		return error_memory(err);
	call->at += n;
	return run_program(call, argv, piece, err);
}

static int finish_write(struct tool_call *call, int exit, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);

	if (exit != 0)
		return finish_command(call, exit, err);
	if (tool_string(call, "content")[call->at])
		return write_piece(call, err) < 0 ? -1 : 1;
	if (buffer_format(&text, "%zu bytes written to %s", call->at, tool_string(call, "path")) < 0)
		return error_memory(err);
	return tool_add_text(call, text.data, err);
}

static int begin_list(struct tool_call *call, struct error *err)
{
	const char *path = tool_string(call, "path");
	const char *const argv[] = { "ls", "-lAp", "--", path ? path : ".", NULL };

	return run_program(call, argv, NULL, err);
}

#define TIMEOUT_AND_CWD \
	"\"timeout\":{\"type\":\"number\",\"minimum\":0,\"description\":\"Seconds after which it is killed; none when absent.\"}," \
	"\"cwd\":{\"type\":\"string\",\"minLength\":1,\"description\":\"Folder to run in; /workspace when absent.\"}"

const struct tool sandbox_tools[] = {
	{
		.name = "run_command", .title = "Run a command",
		.description = "Run a shell command in the sandbox. Returns its standard output, standard error and, "
			       "if it is not 0, its exit status. It has no input and no terminal.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"command\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The command, as for sh -c.\"},"
			  TIMEOUT_AND_CWD "},\"required\":[\"command\"],\"additionalProperties\":false}",
		.ends_with_client = true, .begin = begin_command, .finish = finish_command,
		.describe = describe_command,
	},
	{
		.name = "run_python", .title = "Run Python code",
		.description = "Run Python code in a new interpreter in the sandbox. Returns what it prints; "
			       "variables are gone when it ends.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"code\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The program.\"},"
			  TIMEOUT_AND_CWD "},\"required\":[\"code\"],\"additionalProperties\":false}",
		.ends_with_client = true, .begin = begin_python, .finish = finish_command,
		.describe = describe_command,
	},
	{
		.name = "read_file", .title = "Read a file",
		.description = "Read a file in the sandbox: text, or a picture (PNG, JPEG, GIF, WebP) as a picture. "
			       "Of a long text the middle is left out; read it in parts with offset and limit.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"A relative path begins at /workspace.\"},"
			  "\"offset\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"The first line to read, from 1.\"},"
			  "\"limit\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"How many lines.\"}},"
			  "\"required\":[\"path\"],\"additionalProperties\":false}",
		.reads_only = true, .ends_with_client = true, .answer = TOOL_WHOLE,
		.begin = begin_read, .finish = finish_read,
	},
	{
		.name = "write_file", .title = "Write a file",
		.description = "Write text to a file in the sandbox, replacing what it held; missing folders are made.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"A relative path begins at /workspace.\"},"
			  "\"content\":{\"type\":\"string\",\"description\":\"The whole new text.\"}},"
			  "\"required\":[\"path\",\"content\"],\"additionalProperties\":false}",
		.ends_with_client = true, .begin = write_piece, .finish = finish_write,
	},
	{
		.name = "list_files", .title = "List a folder",
		.description = "List a folder in the sandbox as ls -lA does, folders with a slash.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"path\":{\"type\":\"string\",\"minLength\":1,\"description\":\"/workspace when absent.\"}},"
			  "\"additionalProperties\":false}",
		.reads_only = true, .ends_with_client = true, .begin = begin_list, .finish = finish_command,
	},
	{ .name = NULL },
};
