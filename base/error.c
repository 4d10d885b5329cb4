#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void put_sentence(struct error *err, const char *format, va_list args)
{
	if (vsnprintf(err->text, sizeof err->text, format, args) < 0)
		err->text[0] = '\0';
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	err->code = code ? code : EIO;
	va_start(args, format);
	put_sentence(err, format, args);
	va_end(args);
	return -1;
}

int error_errno(struct error *err, const char *format, ...)
{
	int code = errno;
	size_t used;
	va_list args;

	err->code = code ? code : EIO;
	va_start(args, format);
	put_sentence(err, format, args);
	va_end(args);
	used = strlen(err->text);
	(void)snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(err->code));
	return -1;
}

int error_wrap(struct error *err, const char *format, ...)
{
	char inner[ERROR_TEXT_SIZE];
	size_t used;
	va_list args;

	memcpy(inner, err->text, sizeof inner);
	va_start(args, format);
	put_sentence(err, format, args);
	va_end(args);
	used = strlen(err->text);
	(void)snprintf(err->text + used, sizeof err->text - used, ": %.*s",
		       (int)(sizeof err->text - 3), inner);
	return -1;
}

int error_memory(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory");
}
