/* Our seccomp profile: everything is allowed but what reaches the kernel's rarely used and often
 * broken parts, or would undo the sandbox's mounts and namespaces. Root inside has eleven
 * capabilities and no CAP_SYS_ADMIN; this is the second wall behind that.
 *
 * A call that is refused fails with the errno that a kernel without it would give where programs
 * have a way round (clone3 and io_uring: ENOSYS), else EPERM. Registers have 64 bits and these
 * arguments 32, of which alone the kernel takes notice: so a condition looks at those, too. */
#include "backend/sandbox/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef F_SETDELEG
#define F_SETDELEG 1040 /* of Linux 6.19 */
#endif

static const char *const refused[] = {
	/* mounts and namespaces */
	"mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount",
	"fsconfig", "fspick", "mount_setattr", "open_tree_attr", "setns", "unshare", "chroot",
	/* files without a path: around every mount */
	"open_by_handle_at", "name_to_handle_at",
	/* the kernel itself */
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot",
	"swapon", "swapoff", "syslog", "acct", "quotactl", "quotactl_fd", "nfsservctl",
	"lookup_dcookie", "iopl", "ioperm", "vm86", "vm86old",
	/* large surfaces that few programs need */
	"bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
	"process_vm_readv", "process_vm_writev", "fanotify_init",
	/* clocks */
	"settimeofday", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime", "stime",
};

static const char *const absent[] = { "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register" };

/* An argument's bits under the mask equal value. Without a mask: the argument is greater. */
struct condition {
	unsigned argument;
	double mask, value;
};

#define IS(number, value) { number, 0xffffffff, value }
#define HAS(number, bit) { number, bit, bit }
#define EXCEEDS(number, value) { number, 0, value }

/* Calls that are refused for what they are given; all of the conditions hold. */
static const struct conditional {
	const char *name;
	int error;
	struct condition when[2];
	size_t count;
} conditional[] = {
	{ "clone", EPERM, { HAS(0, CLONE_NEWUSER) }, 1 },
	{ "ioctl", EPERM, { IS(1, TIOCSTI) }, 1 },     /* typing into a terminal that is not its own */
	{ "ioctl", EPERM, { IS(1, TIOCLINUX) }, 1 },
	/* What has a lease or a delegation on a file holds up whoever opens, truncates or renames it. */
	{ "fcntl", EINVAL, { IS(1, F_SETLEASE) }, 1 },
	{ "fcntl", EINVAL, { IS(1, F_SETDELEG) }, 1 },
	/* A socket that lingers holds up whoever closes it last. Sent along with bytes for the host, that is
	 * whoever receives them, whether it takes descriptors or not. As if it had been set. */
	{ "setsockopt", 0, { IS(1, SOL_SOCKET), IS(2, SO_LINGER) }, 2 },
};

/* Families of sockets beside AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: modules that are loaded by asking
 * for one, and the hypervisor's side (AF_VSOCK). */
static const unsigned char families[] = { 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15 };

static const char *architecture(void)
{
#if defined(__x86_64__)
	return "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
	return "SCMP_ARCH_AARCH64";
#elif defined(__riscv) && __riscv_xlen == 64
	return "SCMP_ARCH_RISCV64";
#elif defined(__powerpc64__)
	return "SCMP_ARCH_PPC64LE";
#else
#error "name this machine's seccomp architecture"
#endif
}

static cJSON *add_rule(cJSON *rules, const char *const *names, size_t count, int error)
{
	cJSON *rule = cJSON_CreateObject(), *list;

	if (!rule || !cJSON_AddItemToArray(rules, rule)) {
		cJSON_Delete(rule);
		return NULL;
	}
	list = cJSON_CreateStringArray(names, (int)count);
	if (!list || !cJSON_AddItemToObject(rule, "names", list)) {
		cJSON_Delete(list);
		return NULL;
	}
	if (!cJSON_AddStringToObject(rule, "action", "SCMP_ACT_ERRNO") ||
	    !cJSON_AddNumberToObject(rule, "errnoRet", error))
		return NULL;
	return rule;
}

static bool add_argument(cJSON *args, const struct condition *c)
{
	cJSON *arg = cJSON_CreateObject();

	if (!arg || !cJSON_AddItemToArray(args, arg)) {
		cJSON_Delete(arg);
		return false;
	}
	if (!cJSON_AddNumberToObject(arg, "index", c->argument))
		return false;
	if (!c->mask)
		return cJSON_AddNumberToObject(arg, "value", c->value) &&
		       cJSON_AddStringToObject(arg, "op", "SCMP_CMP_GT");
	return cJSON_AddNumberToObject(arg, "value", c->mask) &&
	       cJSON_AddNumberToObject(arg, "valueTwo", c->value) &&
	       cJSON_AddStringToObject(arg, "op", "SCMP_CMP_MASKED_EQ");
}

static bool add_conditional(cJSON *rules, const struct conditional *c)
{
	cJSON *rule = add_rule(rules, &c->name, 1, c->error);
	cJSON *args = rule ? cJSON_AddArrayToObject(rule, "args") : NULL;
	bool good = args;

	for (size_t i = 0; good && i < c->count; i++)
		good = add_argument(args, &c->when[i]);
	return good;
}

static bool add_families(cJSON *rules, const char *name)
{
	struct conditional c = { name, EAFNOSUPPORT, { EXCEEDS(0, AF_NETLINK) }, 1 };
	bool good = add_conditional(rules, &c);

	for (size_t i = 0; good && i < sizeof families; i++) {
		c.when[0] = (struct condition)IS(0, families[i]);
		good = add_conditional(rules, &c);
	}
	return good;
}

cJSON *seccomp_profile(void)
{
	const char *arch = architecture();
	cJSON *profile = cJSON_CreateObject(), *rules, *archs;
	bool good;

	if (!profile)
		return NULL;
	archs = cJSON_CreateStringArray(&arch, 1);
	good = cJSON_AddStringToObject(profile, "defaultAction", "SCMP_ACT_ALLOW") && archs &&
	       cJSON_AddItemToObject(profile, "architectures", archs);
	rules = good ? cJSON_AddArrayToObject(profile, "syscalls") : NULL;
	good = rules && add_rule(rules, refused, sizeof refused / sizeof *refused, EPERM) &&
	       add_rule(rules, absent, sizeof absent / sizeof *absent, ENOSYS);
	for (size_t i = 0; good && i < sizeof conditional / sizeof *conditional; i++)
		good = add_conditional(rules, &conditional[i]);
	good = good && add_families(rules, "socket") && add_families(rules, "socketpair");
	if (good)
		return profile;
	cJSON_Delete(profile);
	return NULL;
}
