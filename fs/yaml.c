/* libyaml's events made into nodes, for a text that may still grow.
 *
 * A growing text is given to libyaml by complete lines. An error whose mark is the end of the
 * input then means that something is still to come (an open quote, a flow over several lines,
 * JSON); an error anywhere else can never be mended by what follows. A node that the end of the
 * input alone has closed may still grow, and is `open`. libyaml's marks count characters. */
#include "fs/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "fs/judge.h"

/* What is below and at the right edge of a node that something follows grows no more. The rest of
 * the tree was closed when its own successor came. */
static void close_edge(struct document_node *node)
{
	for (; node; node = node->last)
		node->open = false;
}

static struct document_node *add(struct document *yaml, struct document_node *parent, enum document_kind kind,
			     const yaml_event_t *event)
{
	struct document_node *node = calloc(1, sizeof *node);

	if (!node)
		return NULL;
	node->made = yaml->made;
	yaml->made = node;
	yaml->nodes++;
	node->kind = kind;
	node->line = event->start_mark.line + 1;
	if (!parent) {
		yaml->root = node;
	} else {
		close_edge(parent->last);
		if (parent->last)
			parent->last->next = node;
		else
			parent->first = node;
		parent->last = node;
		parent->count++;
	}
	return node;
}

static int refuse(struct document *yaml, size_t line, const char *why)
{
	yaml->failed = true;
	(void)error_set(&yaml->error, EINVAL, "line %zu: %s", line, why);
	return 0;
}

/* What comes next into this node is a key: it has an even number of children. */
static bool is_key(const struct document_node *parent)
{
	return parent && parent->kind == DOCUMENT_MAP && !(parent->count & 1);
}

static bool is_twice(const struct document_node *parent, const char *name)
{
	for (const struct document_node *key = parent->first; key; key = key->next->next)
		if (!key->next)
			return false; /* it is this one */
		else if (!strcmp(key->text, name))
			return true;
	return false;
}

static int add_scalar(struct document *yaml, struct document_node *parent, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	yaml_scalar_style_t style = event->data.scalar.style;
	bool key = is_key(parent);
	char out[JUDGE_SHOWN];
	struct document_node *node = add(yaml, parent, DOCUMENT_SCALAR, event);

	if (!node)
		return -1;
	node->plain = style == YAML_PLAIN_SCALAR_STYLE;
	/* Quotes end a scalar; the others are ended by what comes next. */
	node->open = style != YAML_SINGLE_QUOTED_SCALAR_STYLE && style != YAML_DOUBLE_QUOTED_SCALAR_STYLE && !key;
	node->text = malloc(length + 1);
	if (!node->text)
		return -1;
	memcpy(node->text, value, length);
	node->text[length] = '\0';
	if (memchr(value, 0, length))
		return refuse(yaml, node->line, "a value holds a NUL character");
	if (key && parent->count > DOCUMENT_MEMBERS)
		return refuse(yaml, node->line, "too many fields");
	if (key && is_twice(parent, node->text)) {
		yaml->failed = true;
		(void)error_set(&yaml->error, EINVAL, "line %zu: '%s' is given twice", node->line,
				judge_shown(node->text, out));
	}
	return 0;
}

/* What this parser leaves out of YAML; NULL when the event is fine. */
static const char *left_out(const yaml_event_t *event)
{
	static const char *const anchors = "anchors and aliases (& and *) are not taken; quote the text if it is one";
	static const char *const tags = "tags (!) are not taken; quote the text if it is one";

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return anchors;
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor ? anchors : event->data.scalar.tag ? tags : NULL;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor ? anchors : event->data.sequence_start.tag ? tags : NULL;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor ? anchors : event->data.mapping_start.tag ? tags : NULL;
	default:
		return NULL;
	}
}

struct levels {
	struct document_node *stack[DOCUMENT_DEPTH];
	bool flow[DOCUMENT_DEPTH];
	int depth;
	int documents;
};

/* 1: the stream has ended; 0: go on (or yaml->failed); -1: no memory. */
static int take_event(struct document *yaml, struct levels *l, const yaml_event_t *event)
{
	struct document_node *parent = l->depth ? l->stack[l->depth - 1] : NULL, *node;
	const char *why = left_out(event);
	size_t line = event->start_mark.line + 1;
	bool list = event->type == YAML_SEQUENCE_START_EVENT;

	if (why)
		return refuse(yaml, line, why);
	switch (event->type) {
	case YAML_STREAM_END_EVENT:
		return 1;
	case YAML_DOCUMENT_START_EVENT:
		return ++l->documents > 1 ? refuse(yaml, line, "one document (---) is enough") : 0;
	case YAML_SCALAR_EVENT:
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (yaml->nodes >= DOCUMENT_NODES)
			return refuse(yaml, line, "too many values");
		if (is_key(parent) && event->type != YAML_SCALAR_EVENT)
			return refuse(yaml, line, "the name of a field is a word, not a list or a mapping");
		if (event->type == YAML_SCALAR_EVENT)
			return add_scalar(yaml, parent, event);
		if (l->depth == DOCUMENT_DEPTH)
			return refuse(yaml, line, "nested too deeply");
		node = add(yaml, parent, list ? DOCUMENT_LIST : DOCUMENT_MAP, event);
		if (!node)
			return -1;
		node->open = true;
		l->flow[l->depth] = list ? event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE
					 : event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
		l->stack[l->depth++] = node;
		return 0;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		/* Brackets end a flow; a block is ended by what comes next. */
		l->depth--;
		if (l->flow[l->depth])
			close_edge(parent);
		return 0;
	default:
		return 0;
	}
}

static size_t characters(const char *text, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += ((unsigned char)text[i] & 0xC0) != 0x80;
	return count;
}

static size_t line_of_byte(const char *text, size_t n, size_t at)
{
	size_t line = 1;

	for (size_t i = 0; i < n && i < at; i++)
		line += text[i] == '\n';
	return line;
}

/* The character at a mark, "" at the end. */
static const char *at_mark(const char *text, size_t n, size_t index)
{
	size_t i = 0;

	for (size_t seen = 0; i < n; i++)
		if (((unsigned char)text[i] & 0xC0) != 0x80 && seen++ == index)
			return text + i;
	return "";
}

static const char expected_colon[] = "a field is written as 'name: value'";

/* The parser has stopped: at the end of what is there, or for good. */
static void take_failure(struct document *yaml, const struct levels *l, const yaml_parser_t *parser, const char *text,
			 size_t n, bool final)
{
	const struct document_node *inner = l->depth ? l->stack[l->depth - 1] : NULL;
	size_t line = parser->problem_mark.line + 1;
	const char *problem = parser->problem ? parser->problem : "this is not YAML";

	if (parser->error == YAML_READER_ERROR) {
		line = line_of_byte(text, n, parser->problem_offset);
	} else if (parser->problem_mark.index >= characters(text, n)) {
		if (!final)
			return;
		/* The end is where it was noticed; where it began says more. */
		if (parser->context && !strcmp(parser->context, "while scanning a quoted scalar")) {
			line = parser->context_mark.line + 1;
			problem = "the quote that begins here is not closed";
		} else if (inner && l->flow[l->depth - 1]) {
			line = inner->line;
			problem = inner->kind == DOCUMENT_LIST ? "the list that begins here is not closed"
							      : "the mapping that begins here is not closed";
		} else if (parser->context && parser->context_mark.line + 1 < line) {
			line = parser->context_mark.line + 1;
			problem = expected_colon;
		}
	} else if (*at_mark(text, n, parser->problem_mark.index) == '\t') {
		problem = "a tab cannot indent YAML; use spaces";
	} else if (!strcmp(problem, "found character that cannot start any token")) {
		problem = "a value cannot begin with this character (@, ` or %); put it into quotes";
	} else if (!strcmp(problem, "could not find expected ':'")) {
		line = parser->context_mark.line + 1;
		problem = expected_colon;
	}
	(void)refuse(yaml, line, problem);
}

int document_parse(struct document *yaml, const char *text, size_t n, bool final, struct error *err)
{
	struct levels levels = { .depth = 0 };
	yaml_parser_t parser;
	yaml_event_t event;
	int got = 0;

	memset(yaml, 0, sizeof *yaml);
	if (!final)
		while (n && text[n - 1] != '\n')
			n--;
	if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* libyaml would count it as a column */
		text += 3;
		n -= 3;
	}
	if (!yaml_parser_initialize(&parser))
		return error_memory(err);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	while (!got && !yaml->failed) {
		if (!yaml_parser_parse(&parser, &event)) {
			if (parser.error == YAML_MEMORY_ERROR)
				got = -1;
			else
				take_failure(yaml, &levels, &parser, text, n, final);
			break;
		}
		got = take_event(yaml, &levels, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (got < 0)
		return error_memory(err);
	if (final && !yaml->failed)
		close_edge(yaml->root);
	return 0;
}

void document_free(struct document *yaml)
{
	while (yaml->made) {
		struct document_node *node = yaml->made;

		yaml->made = node->made;
		free(node->text);
		free(node);
	}
	yaml->root = NULL;
}
