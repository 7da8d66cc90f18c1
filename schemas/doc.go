// Package schemas is Weir's contract: the topics, their keys, the one rule
// that maps a key to a partition, and what every record looks like. It imports
// nothing else of Weir, so a third party may import it alone.
package schemas
