/* The subcommands of main.c's table. Each returns the process's exit status. */
#ifndef INTERPFS_COMMANDS_H
#define INTERPFS_COMMANDS_H

int command_mount(int argc, char **argv);  /* fs/mount.c */
int command_runner(int argc, char **argv); /* backend/runners.c */
int command_backend(int argc, char **argv); /* backend/backends.c */
int command_proxy(int argc, char **argv);  /* backend/proxy/proxy.c */
int command_mcp(int argc, char **argv);    /* mcp/server.c */
int command_exec(int argc, char **argv);   /* mcp/exec.c */
int command_doctor(int argc, char **argv); /* backend/doctor.c */
int command_ps(int argc, char **argv);     /* backend/ps.c */
int command_help(int argc, char **argv);   /* fs/help.c; `help` alone is main.c's usage */

#endif
