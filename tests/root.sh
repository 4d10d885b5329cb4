# A root for images, made of this machine's own files. Sourced after functions.sh.
#
#   root_tar    its path: a small system with a shell, coreutils, Python, pip and git

# The root of an image, from this machine's own files: found once, kept for later tests.
root_tar() {
	local tar=$LAYER_CACHE/root-5.tar python root=$T/root f l programs=()
	[ -e "$tar" ] && { echo "$tar"; return; }
	python=$(readlink -f /usr/bin/python3)
	for f in sh bash dash cat ls mkdir rm cp mv ln chmod chown sleep env id pwd echo true false head tail wc sort grep sed touch stat dd \
		kill ps tr cut uname hostname find readlink nproc test date tar gzip ps mount df seq yes tee md5sum sha256sum mkfifo mknod unshare nsenter chroot ip curl setpriv getent su awk mountpoint; do
		f=$(PATH=/usr/bin:/bin type -P "$f") && programs+=("$f" "$(readlink -f "$f")")
	done
	programs+=(/usr/bin/python3 "$python" /usr/bin/git /usr/lib/git-core/git-remote-http /usr/lib/git-core/git-remote-https)
	mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc,tmp,root,run,var/tmp,proc,sys,dev,home,opt} "$LAYER_CACHE"
	chmod 1777 "$root"/tmp "$root"/var/tmp
	for l in bin sbin lib lib64; do [ -L "/$l" ] && cp -a "/$l" "$root/$l"; done
	{
		printf '%s\n' "${programs[@]}"
		for f in "${programs[@]}" /usr/lib/"${python##*/}"/lib-dynload/*.so; do ldd "$f" 2>/dev/null; done | grep -o '/[^ ]*' |
			sort -u | while read -r l; do echo "$l"; readlink -f "$l"; done
		dpkg -L libc6 libstdc++6 libgcc-s1 2>/dev/null | grep '\.so' # what wheels are linked with
		printf '%s\n' "/usr/lib/${python##*/}" /usr/lib/python3/dist-packages/{pip,pip-*,setuptools,setuptools-*,pkg_resources,wheel,wheel-*} \
			/usr/lib/locale/C.utf8 /etc/{passwd,group,nsswitch.conf,alternatives} /etc/ssl/certs/ca-certificates.crt
	} | sed 's,^/\(lib\|lib64\|bin\|sbin\)/,/usr/\1/,' | sort -u | while read -r f; do [ -e "$f" ] && echo "${f#/}"; done >"$T/root.list"
	tar -C / --exclude='__pycache__' --exclude='config-3*' --exclude=test --hard-dereference -cf - -T "$T/root.list" 2>/dev/null | tar -C "$root" -xf -
	tar -C "$root" -cf "$tar~$$" . && mv "$tar~$$" "$tar"
	rm -rf "$root"
	echo "$tar"
}
