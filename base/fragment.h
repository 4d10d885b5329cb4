/* Fragments: a notebook's cell on disk (cells/N/fragment), to which each output is appended at
 * the cost of its own bytes, and from which notebook.ipynb is put together at any moment.
 *
 *   {"cell_type":"code","id":"n7-c3",…,"source":[…],"outputs":[ ⏎          the head
 *   {"output_type":"stream","name":"stdout","text":["0\n" ⏎                 a stream stays open …
 *   ,"1\n" ⏎                                                                … while it goes on
 *   ]},{"output_type":"execute_result",…} ⏎                                 the next output closes it
 *   ,{"output_type":"error",…} ⏎
 *
 * A record is one line; a line ends where its newline is, since JSON strings hold none. So a
 * snapshot taken at any byte is whole up to its last newline, also after kill -9, and needs
 * FRAGMENT_CLOSING_SIZE bytes behind it to be a cell: which ones, the byte before that newline
 * says ('"': inside a stream's text). A Markdown cell is a head whose open array is its source;
 * it ends in a space and a newline. As every closing is equally long, the notebook's size is
 * known from the fragments' sizes alone:
 *
 *   notebook-head.json + fragment 1 + closing + "," + fragment 2 + closing … + "]}\n"
 *
 * Fragments only grow, except when a cell is run again, its output cleared or a display
 * updated: then a new file replaces the old one, so an open descriptor keeps its snapshot. */
#ifndef INTERPFS_BASE_FRAGMENT_H
#define INTERPFS_BASE_FRAGMENT_H

#include <stddef.h>

#define FRAGMENT_CLOSING_SIZE 4u

/* How many of n bytes are whole records. 0: not even the head is there, leave the cell out. */
size_t fragment_whole(const void *data, size_t n);

/* The FRAGMENT_CLOSING_SIZE bytes (static) that make the first `whole` bytes a cell. */
const char *fragment_closing(const void *data, size_t whole);

#endif
