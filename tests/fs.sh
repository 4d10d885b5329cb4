# A sandbox's files behind fs/, whatever its backend: sourced after functions.sh. The sandbox `lab` is ready, $L is
# its folder in the mount.
#
#   fs_both_ways     what one side writes the other reads, at once
#   fs_stays_inside  no link, no folder that becomes one and nothing that is bound there leads to the host
#   fs_ends          gone while it is stopped, there again when it runs; /srv/other is kept
within() { inside lab sh -c "$1"; }

fs_both_ways() {
	local i
	echo outside >"$L/fs/root/from-outside" || fail "write"
	same "seen inside" outside "$(within 'cat /root/from-outside')"
	within 'mkdir -p /srv/deep; echo inside > /srv/deep/file; ln -s /srv/deep/file /srv/link; chmod 700 /srv/deep/file'
	same "seen outside" inside "$(cat "$L/fs/srv/deep/file")"
	for i in 1 2 3; do
		within "echo number $i of a file that changes > /srv/deep/file"
		same "change $i" "number $i of a file that changes" "$(cat "$L/fs/srv/deep/file")"
		same "its size" 32 "$(stat -c %s "$L/fs/srv/deep/file")"
	done
	within 'mv /srv/deep/file /srv/other; echo new > /srv/deep/file'
	same "another file of the name" new "$(cat "$L/fs/srv/deep/file")"
	within 'rm /srv/deep/file'
	[ ! -e "$L/fs/srv/deep/file" ] || fail "a deleted file is shown"
	exec 7<"$L/fs/srv/other"; within 'echo more >> /srv/other'; same "an open file grows" more "$(tail -n1 <&7)"; exec 7<&-
	cp -r "$L/fs/srv" "$T/copy" && same "copied out" more "$(tail -n1 "$T/copy/other")"
	same "owner" "$(id -u):$(id -g)" "$(stat -c %u:%g "$L/fs/srv/other")"
	cp -a "$T/copy" "$L/fs/root/back" || fail "cp -a in"
	same "its owner inside" 0 "$(within 'stat -c %u /root/back/other')"
}

fs_stays_inside() {
	local l
	echo host >"$T/secret"
	within "ln -s $T/secret /srv/absolute; ln -s ../../../../../../../../../..$T/secret /srv/up; mkdir /srv/x; ln -s / /srv/x/root
ln -s x/root/../../../../../../../..$T/secret /srv/behind; ln -s /etc/hostname /srv/name; ln -s /proc/1/root/etc /srv/magic; ln -s .. /up
ln -s /proc/1/root /srv/first; ln -s /proc/self/cwd /srv/self"
	for l in absolute up behind "first$T/secret" "self$T/secret"; do
		if [ "$(cat "$L/fs/srv/$l" 2>/dev/null)" = host ]; then fail "the link $l leads to the host: $(readlink "$L/fs/srv/$l")"; fi
		if (echo x >"$L/fs/srv/$l") 2>/dev/null; then fail "wrote through $l"; fi
	done
	same "the host's file is as it was" host "$(cat "$T/secret")"
	same "absolute is shown relative" ../etc/hostname "$(readlink "$L/fs/srv/name")"
	same "and leads to the sandbox's" "$(within 'cat /etc/hostname')" "$(cat "$L/fs/srv/name")"
	same ".. is cut at the root" "$(stat -c %i "$L/fs/")" "$(stat -Lc %i "$L/fs/up")"
	[ ! -e "$L/fs/srv/magic/passwd" ] || fail "through /proc/1/root"
	same "/proc is empty" "" "$(ls -A "$L/fs/proc")"
	same "/sys is empty" "" "$(ls -A "$L/fs/sys")"
	fails "nothing can be made in /proc" touch "$L/fs/proc/x"
	fails "/proc cannot be moved" mv "$L/fs/proc" "$L/fs/srv/proc"
	same "dev null is no way to the host" "" "$(cat "$L/fs/dev/null" 2>/dev/null)"
	fails "a device can be made" mknod "$L/fs/srv/disk" b 8 0
	# a folder that becomes a link while it is used
	within "mkdir /srv/swap; echo a > /srv/swap/f"; cat "$L/fs/srv/swap/f" >/dev/null
	within "mv /srv/swap /srv/swapped; ln -s $T /srv/swap"
	if [ "$(cat "$L/fs/srv/swap/secret" 2>/dev/null)" = host ]; then fail "a folder became a link to the host"; fi
	# what is bound read-only is so from here, too
	for l in "$L"/fs/workspace/libraries "$L"/fs/workspace/files "$L"/fs/run/interpfs/guest "$L"/fs/opt/interpfs/guest/*.d/guest; do
		[ ! -d "$l" ] || l=$l/x
		[ ! -e "${l%/x}" ] || fails "written: ${l#"$L/fs"}" sh -c 'echo x >>"$1"' sh "$l"
	done
}

fs_ends() {
	exec 8<"$L/fs/srv/other"
	ctl lab stop || fail "stop"
	fails "fs of what is stopped" ls "$L/fs/"
	fails "a file of what is stopped" cat "$L/fs/srv/other"
	case $(LC_ALL=C ls "$L/fs/" 2>&1) in *"not connected"*) ;; *) fail "not ENOTCONN: $(LC_ALL=C ls "$L/fs/" 2>&1)" ;; esac
	exec 8<&-
	ctl lab restart || fail "restart: $(error lab)"
	same "its files stayed" more "$(tail -n1 "$L/fs/srv/other")"
}
