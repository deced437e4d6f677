// Package local is how the plugins on one node reach each other: a unix socket in a folder that
// belongs to one user.
//
// What comes in: the folder's path. What is true where [Open] returns no error: the open folder is
// no symbolic link, belongs to this user, nobody else may enter it, and nobody else can put another
// in its place. What is true of a connection that a [Listener] accepted or [Folder.Dial] returned:
// the kernel says that the process on the other end had the folder's user (or is root, where a
// listener takes root) when it connected or began to listen. What is not shown: which program that
// is. All processes of one user are one party here, as they are for SPIRE.
package local
