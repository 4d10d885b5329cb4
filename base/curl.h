/* libcurl, loaded by the first who needs it. It brings thirty libraries along (TLS twice, LDAP,
 * Kerberos), whose loading takes 3 ms and most of a megabyte: more than all else of a process that
 * never makes a request, as the runner of a sandbox and every short command are. Include this in
 * place of <curl/curl.h>, and call curl_load() before anything else; the names are libcurl's own.
 *
 * libcurl.so.4 has kept its interface since 2006, and what is called here was all there by 7.18.2; a setting
 * that an older one does not know is its own error (CURLE_UNKNOWN_OPTION), as it is when it is linked. */
#ifndef INTERPFS_BASE_CURL_H
#define INTERPFS_BASE_CURL_H

#include <curl/curl.h>

#include "base/error.h"

/* Its own, which only pass their arguments on. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

#define CURL_FUNCTIONS(f) \
	f(easy_cleanup) f(easy_getinfo) f(easy_init) f(easy_perform) f(easy_recv) \
	f(easy_send) f(easy_setopt) f(easy_strerror) f(getdate) f(global_init) \
	f(multi_add_handle) f(multi_assign) f(multi_cleanup) f(multi_info_read) \
	f(multi_init) f(multi_remove_handle) f(multi_setopt) f(multi_socket_action) \
	f(slist_append) f(slist_free_all)

struct curl_loaded {
#define CURL_POINTER(name) __typeof__(curl_##name) *name;
	CURL_FUNCTIONS(CURL_POINTER)
#undef CURL_POINTER
};

extern struct curl_loaded curl_loaded;

/* 0, also when it was loaded before; -1 ENOENT with what is missing, at each call. Of one thread. */
int curl_load(struct error *err);

/* Headers of an answer whose values are kept, as texts without the white space around them. */
struct kept_header {
	const char *name;
	char *out;
	size_t size;
};

/* From a line of them, as CURLOPT_HEADERFUNCTION gets it: it need not be one that is kept. */
void curl_keep_header(const char *line, size_t n, const struct kept_header *kept, size_t count);

#define curl_easy_cleanup curl_loaded.easy_cleanup
#define curl_easy_getinfo curl_loaded.easy_getinfo
#define curl_easy_init curl_loaded.easy_init
#define curl_easy_perform curl_loaded.easy_perform
#define curl_easy_recv curl_loaded.easy_recv
#define curl_easy_send curl_loaded.easy_send
#define curl_easy_setopt curl_loaded.easy_setopt
#define curl_easy_strerror curl_loaded.easy_strerror
#define curl_getdate curl_loaded.getdate
#define curl_global_init curl_loaded.global_init
#define curl_multi_add_handle curl_loaded.multi_add_handle
#define curl_multi_assign curl_loaded.multi_assign
#define curl_multi_cleanup curl_loaded.multi_cleanup
#define curl_multi_info_read curl_loaded.multi_info_read
#define curl_multi_init curl_loaded.multi_init
#define curl_multi_remove_handle curl_loaded.multi_remove_handle
#define curl_multi_setopt curl_loaded.multi_setopt
#define curl_multi_socket_action curl_loaded.multi_socket_action
#define curl_slist_append curl_loaded.slist_append
#define curl_slist_free_all curl_loaded.slist_free_all

#endif
