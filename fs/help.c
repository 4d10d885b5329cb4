/* `interpfs help`: what the rows say. Alone it is the program's usage (main.c); `help tree` and
 * `help fields` print the tables for people, `help man` prints interpfs(5) for man(1). All of it
 * comes from the same rows as the refusals and the tree itself, so no page can differ from them;
 * a test compares docs/interpfs.5 with what this prints. */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "commands.h"
#include "fs/judge.h"
#include "fs/tree.h"

#define HELP_MAX (1u << 20)

static const struct table {
	const char *file;
	const struct field *fields;
} tables[] = {
	{ "sandboxes/NAME/config", sandbox_fields },
	{ "notebooks/NAME/config", notebook_fields },
	{ "sessions/N/config", session_fields },
	{ "workspaces/NAME/config", workspace_fields },
};

/* Text for roff: a leading dot or quote begins a request, a backslash an escape, and a hyphen
 * that can be pasted is \-. */
static void roff(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
}

/* A field and what it may be, on one line; what this version refuses is left out. */
static void field_line(const struct field *f, bool man)
{
	if (man) {
		fputs(".TP\n.B ", stdout);
		roff(f->name);
		fputs("\n", stdout);
		roff(f->help ? f->help : "");
		if (f->choices && !f->check) {
			fputs("; one of ", stdout);
			for (const char *c = f->choices; *c; c++)
				fputs(*c == '|' ? ", " : (char[]){ *c, '\0' }, stdout);
		}
		if (f->fallback) {
			fputs(" (default ", stdout);
			roff(f->fallback);
			fputs(")", stdout);
		}
		fputs(f->alive ? "; can change while it runs.\n" : ".\n", stdout);
		return;
	}
	printf("    %-20s %-28s %s%s\n", f->name, f->fallback ? f->fallback : "must be given", f->help ? f->help : "",
	       f->alive ? " (can change while it runs)" : "");
}

static void fields(bool man)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		bool any = false;

		for (const struct field *f = tables[i].fields; f->name; f++)
			any |= !f->later;
		if (!any)
			continue;
		printf(man ? ".SS %s\n" : "%s\n\n", tables[i].file);
		for (const struct field *f = tables[i].fields; f->name; f++)
			if (!f->later)
				field_line(f, man);
		if (!man)
			putchar('\n');
	}
}

/* tree_help's lines are "PATH<tab>help". */
static int tree(bool man)
{
	cleanup_buffer struct buffer rows = BUFFER(HELP_MAX);
	struct error err;
	char *line, *rest;

	if (tree_help(&rows, &err) < 0) {
		fprintf(stderr, "interpfs help: %s\n", err.text);
		return -1;
	}
	for (line = strtok_r(rows.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *help = strchr(line, '\t');

		if (!help)
			continue;
		*help++ = '\0';
		if (man) {
			fputs(".TP\n.B ", stdout);
			roff(line);
			putchar('\n');
			roff(help);
			putchar('\n');
		} else {
			printf("    %-36s %s\n", line, help);
		}
	}
	return 0;
}

static const char head[] =
	".TH INTERPFS 5 \"2026-11-25\" \"interpfs\" \"File Formats\"\n"
	".SH NAME\ninterpfs \\- the tree of a mount, and the fields of its configurations\n"
	".SH DESCRIPTION\n"
	"A mount shows sandboxes, workspaces, notebooks and sessions as directories.\n"
	".B mkdir\nmakes an object, writing its\n.I config\nstarts it,\n.B rmdir\nends it.\n"
	"Reading is free: it never starts, changes or waits for anything.\n"
	"A refused write fails with an errno, and\n.I error\nbeside the file says in one sentence what is wrong, where, and what would be right.\n"
	".PP\nBeside each log\n.I X\nthere is\n.IR X.follow ,\nwhich\n.BR ls (1)\ndoes not list: the whole of X, then what comes as it comes, and end of file when the object has come to rest.\n"
	".PP\nA call file\n.RI ( exec ,\n.IR python ,\n.IR eval )\n"
	"is a conversation for each open: what is written before the first read is the request, then the answer comes to the end of file:\n"
	".PP\n.nf\n    exec 3<> sandboxes/lab/exec; echo 'nproc' >&3; cat <&3; exec 3>&\\-\n.fi\n"
	".PP\nA\n.I ctl\ntakes one command a line, and lists its commands when it is read.\n.B wait\nreturns when the object is ready or its turn has ended.\n";

static const char tail[] =
	".SH SEE ALSO\n.BR interpfs (1),\n.I docs/tree.md\nin the sources: the contract in full.\n";

int command_help(int argc, char **argv)
{
	const char *topic = argc > 1 ? argv[1] : "";

	if (!strcmp(topic, "tree")) {
		if (tree(false) < 0)
			return 1;
	} else if (!strcmp(topic, "fields")) {
		fields(false);
	} else if (!strcmp(topic, "man")) {
		fputs(head, stdout);
		fputs(".SH FILES\n", stdout);
		if (tree(true) < 0)
			return 1;
		fputs(".SH CONFIGURATIONS\nYAML, so JSON too. Only what is given need be written.\n", stdout);
		fields(true);
		fputs(tail, stdout);
	} else {
		fprintf(stderr, "interpfs help: there is help on each command, on tree and on fields, not on '%s'\n", topic);
		return 64;
	}
	return fflush(stdout) ? 1 : 0;
}
