# interpfs. `make` builds build/interpfs and build/interpfs-guest; `make check` tests; `make demo` shows.
BUILD ?= build
PREFIX ?= /usr/local
# mount(8) looks for its helpers here and nowhere else.
HELPERS ?= /sbin
CC ?= gcc
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith $(WERROR)
HARDEN = -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
CFLAGS ?= -O2 -g
# libcurl is loaded when it is needed (base/curl.h); only its header is used here.
PACKAGES = fuse3 libcjson libwebsockets openssl yaml-0.1

# SANITIZE=address,undefined or thread: pick a BUILD of its own with it.
ifdef SANITIZE
CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -DINTERPFS_FAILPOINTS
HARDEN := -fPIE
LDSAN = -fsanitize=$(SANITIZE)
endif

ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -MMD -MP -DFUSE_USE_VERSION=314 $(WARN) $(HARDEN) $(CFLAGS) $(CPPFLAGS)
PKG_CFLAGS := $(shell pkg-config --cflags libcurl $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -ldl

SOURCES := main.c $(wildcard base/*.c fs/*.c backend/*.c backend/proxy/*.c backend/sandbox/*.c backend/kernel/*.c backend/llm/*.c mcp/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(filter-out $(BUILD)/main.o,$(OBJECTS))
# The guest is static and uses nothing but libc: it must run inside any image.
GUEST_SOURCES := $(wildcard backend/guest/*.c) base/error.c base/buffer.c base/frame.c \
  backend/sandbox/network_refuse.c
GUEST_OBJECTS := $(GUEST_SOURCES:%.c=$(BUILD)/guest/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))

all: $(BUILD)/interpfs $(if $(wildcard backend/guest/*.c),$(BUILD)/interpfs-guest)

$(BUILD)/interpfs: $(OBJECTS)
	$(CC) -pie -Wl,-z,relro,-z,now $(LDSAN) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm -lpthread

$(BUILD)/interpfs-guest: $(GUEST_OBJECTS)
	$(CC) -static $(LDFLAGS) -o $@ $^

$(BUILD)/libinterpfs.a: $(LIBRARY)
	rm -f $@ && ar rcs $@ $^

# One sentence in place of a compiler's page of missing headers.
packages:
	@pkg-config --exists --print-errors libcurl $(PACKAGES) || { echo "tools/setup build installs what is missing, or says how" >&2; exit 1; }
$(OBJECTS): | packages

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -c -o $@ $<

# Never sanitized: it is linked statically. Its unit tests and fuzz targets are.
$(BUILD)/guest/%.o: %.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -I. -MMD -MP $(WARN) -O2 -g -c -o $@ $<

$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libinterpfs.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) $(shell pkg-config --cflags check) -Wno-missing-prototypes $(LDSAN) -o $@ $< \
	  $(BUILD)/libinterpfs.a $(PKG_LIBS) $(shell pkg-config --libs check) -lm -lpthread

unit-tests: $(UNIT_TESTS)

check:
	tests/check

check-asan:
	tests/check unit api root user
check-tsan:
	tests/check threads
fuzz:
	tests/check fuzz
bench:
	tests/bench/run
demo:
	tools/demo

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(HELPERS) $(DESTDIR)$(PREFIX)/libexec/interpfs \
	  $(DESTDIR)$(PREFIX)/share/interpfs $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 0755 $(BUILD)/interpfs $(DESTDIR)$(PREFIX)/bin/
	install -m 0755 $(BUILD)/interpfs-guest $(DESTDIR)$(PREFIX)/libexec/interpfs/
	ln -sf $(PREFIX)/bin/interpfs $(DESTDIR)$(HELPERS)/mount.interpfs
	ln -sf $(PREFIX)/bin/interpfs $(DESTDIR)$(HELPERS)/mount.fuse.interpfs
	cp -r share/. $(DESTDIR)$(PREFIX)/share/interpfs/
	install -m 0644 docs/interpfs.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 docs/interpfs.5 $(DESTDIR)$(PREFIX)/share/man/man5/

clean:
	rm -rf $(BUILD)

.PHONY: all packages check check-asan check-tsan fuzz bench demo install clean unit-tests
.SECONDARY:
-include $(OBJECTS:.o=.d) $(GUEST_OBJECTS:.o=.d) $(UNIT_TESTS:=.d)
