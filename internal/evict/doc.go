// Copyright ©2026 The graphkv Authors. SPDX-License-Identifier: Apache-2.0

// Package evict chooses what a cache with a byte budget gives up next. The memory
// tier and the disk tier use it; it keeps no values and no bytes, only an order.
//
// The policy is GreedyDual-Size with frequency (P. Cao, S. Irani: Cost-aware WWW
// proxy caching algorithms, USITS 1997; L. Cherkasova: Improving WWW proxies
// performance with Greedy-Dual-Size-Frequency caching policy, HPL-98-69, 1998). The
// victim is the entry with the smallest
//
//	priority = age + uses × weight
//
// where weight is the entry's cost per byte, age is what the cache's age was when the
// entry was last used, and the cache's age is the priority of the last victim. So
// recency is in the age, and what is dear to make again for the room it takes, or used
// often, stays longer. Of equal priorities the one used longest ago goes. With one use
// each and equal weights this is LRU.
//
// Three things are settled here that the papers leave open:
//
//   - Weight stays within a factor of 64 of the mean of what was added lately, and an
//     entry of unknown cost weighs that mean, that is, as if its cost were in proportion
//     to its bytes. So no absurd cost can upset the order for long.
//   - Uses count up to 16. An entry that was used a million times and then no more
//     goes after a bounded number of turnovers of the cache, as it must.
//   - An entry that is held is not chosen while one that is not exists.
//
// Using and holding take constant time: a heap is put right when a victim is looked for,
// and each move there is paid for by the use or the hold that made it necessary. A victim
// costs O(log n), amortised, and so does letting go of what was passed over meanwhile.
package evict
