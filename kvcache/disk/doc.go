// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package disk keeps KVs in a folder, one self-describing file each, and maps them into memory: attention reads the file's pages in place.
//
// # Files
//
// All numbers are little-endian. A file holds
//
//	offset      bytes  what
//	0           8      magic: 89 47 4b 56 0d 0a 1a 0a
//	8           4      version of this format and of the layout of attention.KV: 1
//	12          4      H, the length of the header: 156 + 4 × layers, rounded up to a multiple of 64
//	16          32     the key
//	48          32     fingerprint of the model
//	80          32     identity of the scope
//	112         8      cost of encoding in seconds, a float64
//	120         4      layers, at most 65536
//	124         4      KV heads
//	128         4      head dim
//	132         4      number of the attention.Format
//	136         8      tokens
//	144         8      L, the bytes of a layer, what kvcache.Shape.LayerBytes says: a multiple of 64
//	152         4 each CRC-32C of each layer
//	            …      zeros
//	H−4         4      CRC-32C of all that is before it
//	H           L each the layers, as kvcache.KV.Data has them
//
// and not a byte more. Every byte is covered by a checksum, padding included, and CRC-32C (Castagnoli) finds every error of up to three
// bits, and every burst of up to 32, in a region of up to 256 MiB. It is the checksum that processors compute: one core verifies about as
// fast as it reads memory. Every layer starts at a multiple of 64 bytes in the file and, since a mapping starts at a page, in memory.
//
// The folder holds
//
//	v1/lock                        locked for the moment in which a process joins or looks around
//	v1/live/<owner>                one for each process, which holds a lock on it
//	v1/quarantine/<time>-<key>     damaged files, the last 32 and at most 64 MiB
//	v1/<2 digits>/<key>.kv         an entry; the digits are the first of the key's 64 hexadecimal ones
//	v1/<2 digits>/tmp-<owner>-<n>  a file being written
//
// Nothing else is needed: the index is made of names and sizes when a store is opened. Costs are in the headers, which are read when an
// entry is used or about to be evicted, and of some thirty entries to know the mean: a folder's listing is one thing to read from a
// disk, a hundred thousand headers are as many things. Files of other names are left alone.
//
// # Writing
//
// Put writes a temporary file in the same folder, syncs it, renames it, and syncs the folder: at every instant there is a whole file under
// the key or none, and when Put has returned it stays. Writers that wait for the same folder share a sync. There is no option to do less.
// A file that has its name is never written to again: it is replaced by renaming and evicted by removing, both of which leave mappings
// as they are. What a process that was killed left behind is removed by the next that opens the store: the temporary file says
// who wrote it, and the owner's lock whether it lives.
//
// # Reading
//
// The first Get of a file in a process checks its header and its length, maps it and compares every layer with its checksum, before anything
// is served. The mapping stays with the entry, so that further Gets are a look into the index. It goes when the entry was evicted, deleted or
// replaced and the last handle was released, or when 4096 others that nobody holds were used since. Where there is no mmap, and
// where a process has 32768 files mapped, which is half of what Linux allows, files are read into memory at a multiple of 64 bytes, and
// 256 MiB of those that nobody holds are kept.
//
// A damaged file is moved to the quarantine, counted and reported, and Get returns a *[kvcache.CorruptError].
//
// Checksums find what a disk, a cable or a crash did. They do not tell who wrote a file: whoever can write to the folder can put a
// KV of its choice there. Damage to pages after they were verified is not found until the file is mapped again. And reading a mapping ends
// the process (SIGBUS) if another program shortened the file, or if the disk cannot read again a page that the system had dropped. No
// store ever shortens a file. While a file is being verified, which is when most pages are read from the disk, such a page is an error like
// any other.
//
// # Budget
//
// The budget bounds the disk blocks of all entries and of the files being written; a file counts as its length rounded up to 4 KiB. Folders
// themselves, about a tenth of a kilobyte an entry, and the quarantine are beside it. Victims are chosen by internal/evict, by recency and cost
// per byte. What a handle holds is not evicted: a KV for which nothing else can go is not kept (Metrics.Rejected).
//
// The last use of an entry is its file's time of change, written at most once a minute, so that it is known after a restart and, when
// they look around, to others.
//
// # Processes that share a folder
//
// Any number of processes, and stores in one process, may use a folder at the same time, over a network file system too if it has
// locks. An entry that another process wrote is found by the Get that asks for it: a miss in the index is one attempt to open the
// file. One that another process removed is a miss, unless it is mapped: then it is served until the process looks around. Since equal keys
// mean equal KVs this is never wrong.
//
// A process looks around, that is, lists the folder again, whenever it has written a 32nd of the budget and others are or were there. So all
// together exceed the budget by at most a 32nd, or one entry if that is more, for each other process. [Store.Rescan] does it at any time.
// Systems without file locks (neither Unix nor Windows) have to keep a folder to one process.
package disk
