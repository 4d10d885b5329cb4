#include "backend/proxy/authority.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hosts.h"

#define FILE_MAX 65536u
#define BEFORE_SECONDS (24L * 3600)         /* clocks differ */
#define AUTHORITY_SECONDS (3650L * 24 * 3600)
#define HOST_SECONDS (30L * 24 * 3600)

struct authority {
	EVP_PKEY *key;
	X509 *certificate;
};

static int failed(struct error *err, const char *what)
{
	unsigned long code = ERR_get_error();
	char text[256] = "no memory left";

	if (code)
		ERR_error_string_n(code, text, sizeof text);
	ERR_clear_error();
	return error_set(err, EIO, "%s: %s", what, text);
}

static bool set_serial(X509 *certificate)
{
	unsigned char bytes[8];
	uint64_t number = 0;

	if (RAND_bytes(bytes, sizeof bytes) != 1)
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		number = number << 8 | bytes[i];
	return ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), number >> 1) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool added;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	added = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

static bool name_it(X509_NAME *name, const char *text)
{
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"interpfs", -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0) == 1;
}

/* A certificate for key, signed by the issuer (NULL: by itself). NULL: OpenSSL's errors say why. */
static X509 *make(EVP_PKEY *key, const char *name, const char *names, long seconds, X509 *issuer, EVP_PKEY *issuers)
{
	X509 *c = X509_new();
	bool good = c && X509_set_version(c, 2) == 1 && set_serial(c) &&
		    X509_gmtime_adj(X509_getm_notBefore(c), -BEFORE_SECONDS) &&
		    X509_gmtime_adj(X509_getm_notAfter(c), seconds) && X509_set_pubkey(c, key) == 1 &&
		    name_it(X509_get_subject_name(c), name) &&
		    X509_set_issuer_name(c, X509_get_subject_name(issuer ? issuer : c)) == 1;

	if (good && issuer)
		good = add_extension(c, issuer, NID_subject_alt_name, names) &&
		       add_extension(c, issuer, NID_ext_key_usage, "serverAuth") &&
		       add_extension(c, issuer, NID_basic_constraints, "critical,CA:FALSE");
	else if (good)
		good = add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		       add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		       add_extension(c, c, NID_subject_key_identifier, "hash");
	if (good && issuer)
		good = add_extension(c, issuer, NID_authority_key_identifier, "keyid");
	if (good && X509_sign(c, issuers ? issuers : key, EVP_sha256()) > 0)
		return c;
	X509_free(c);
	return NULL;
}

static int write_it(int folder, EVP_PKEY *key, X509 *certificate, struct error *err)
{
	BIO *out = BIO_new(BIO_s_secmem() ? BIO_s_secmem() : BIO_s_mem());
	char *text = NULL;
	long n;
	int result;

	if (!out || PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509(out, certificate) != 1 || (n = BIO_get_mem_data(out, &text)) <= 0)
		result = failed(err, AUTHORITY_FILE);
	else
		result = file_replace(folder, AUTHORITY_FILE, text, (size_t)n, 0600, false, err);
	BIO_free(out);
	return result;
}

static void forget_text(void *p)
{
	struct buffer *text = p;

	if (text->data)
		explicit_bzero(text->data, text->length);
	buffer_free(text);
}

int authority_open(struct authority **authority, int folder, struct error *err)
{
	__attribute__((cleanup(forget_text))) struct buffer text = BUFFER(FILE_MAX);
	struct authority *a;
	BIO *in;

	if (file_read(folder, AUTHORITY_FILE, &text, err) < 0)
		return -1;
	a = calloc(1, sizeof *a);
	in = BIO_new_mem_buf(text.data ? text.data : "", (int)text.length);
	if (a && in) {
		a->key = PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"");
		a->certificate = PEM_read_bio_X509(in, NULL, NULL, (void *)"");
	}
	BIO_free(in);
	if (!a || !a->key || !a->certificate || X509_check_private_key(a->certificate, a->key) != 1) {
		authority_close(a);
		return failed(err, AUTHORITY_FILE);
	}
	*authority = a;
	return 0;
}

void authority_close(struct authority *a)
{
	if (!a)
		return;
	EVP_PKEY_free(a->key);
	X509_free(a->certificate);
	free(a);
}

int authority_make(int folder, struct error *err)
{
	struct authority *there = NULL;
	EVP_PKEY *key;
	X509 *certificate;
	int result;

	if (!authority_open(&there, folder, err)) {
		authority_close(there);
		return 0;
	}
	key = EVP_EC_gen("P-256");
	certificate = key ? make(key, "this sandbox's proxy", NULL, AUTHORITY_SECONDS, NULL, NULL) : NULL;
	result = certificate ? write_it(folder, key, certificate, err) : failed(err, "a certificate for the sandbox's proxy");
	EVP_PKEY_free(key);
	X509_free(certificate);
	return result;
}

int authority_certificate(int folder, struct buffer *out, struct error *err)
{
	struct authority *a;
	BIO *text = BIO_new(BIO_s_mem());
	char *data = NULL;
	long n = 0;
	int result = -1;

	if (authority_open(&a, folder, err) < 0) {
		BIO_free(text);
		return -1;
	}
	if (text && PEM_write_bio_X509(text, a->certificate) == 1)
		n = BIO_get_mem_data(text, &data);
	if (n > 0)
		result = buffer_append(out, data, (size_t)n) < 0 ? error_memory(err) : 0;
	else
		result = failed(err, AUTHORITY_FILE);
	BIO_free(text);
	authority_close(a);
	return result;
}

SSL_CTX *authority_context(struct authority *a, const char *host, struct error *err)
{
	char names[HOST_SIZE + 8], shown[65];
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = NULL;

	(void)snprintf(names, sizeof names, "%s:%s", hosts_is_address(host) ? "IP" : "DNS", host);
	(void)snprintf(shown, sizeof shown, "%.64s", host); /* X.520: a common name has at most 64 characters */
	if (key)
		certificate = make(key, shown, names, HOST_SECONDS, a->certificate, a->key);
	if (!context || !certificate || SSL_CTX_use_certificate(context, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
		(void)failed(err, host);
		SSL_CTX_free(context);
		context = NULL;
	}
	EVP_PKEY_free(key);
	X509_free(certificate);
	return context;
}
