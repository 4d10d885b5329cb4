/* An error in two channels: an errno for the kernel and a sentence for people.
 *
 * A function that can fail takes `struct error *err` last and returns 0, or -1 with err filled
 * in. Success never touches err. The sentence grows context as it rises:
 * error_wrap(err, "sandbox %s", name) makes "sandbox gemma: no such image". Either log an error
 * or return it, never both. */
#ifndef INTERPFS_BASE_ERROR_H
#define INTERPFS_BASE_ERROR_H

#define ERROR_TEXT_SIZE 1024

struct error {
	int code;                    /* an errno, never 0 once set */
	char text[ERROR_TEXT_SIZE];  /* one sentence without a newline; cut if it is too long */
};

/* Sets code and sentence. Returns -1, so that a caller can `return error_set(...)`. */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a failed system call: the sentence ends in ": " and strerror(errno).
 * The code is errno as it was at the call (EIO if it was 0). Returns -1. */
int error_errno(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Puts "context: " before the sentence. Keeps the code. Returns -1. */
int error_wrap(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Out of memory. Returns -1. */
int error_memory(struct error *err);

#endif
