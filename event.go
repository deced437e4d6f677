package attestd

// Event is one event of a measured log, replayed: a register that the evidence vouches for was
// extended with Digest at this point. Everything else in it is text of the log and is present only
// where the digest covers it, since an attacker can write any text beside a digest.
type Event struct {
	// Log is "boot" (TCG event log), "ccel" (confidential computing event log) or "ima".
	Log string
	// Index is the event's place in its log, from 0.
	Index int
	// Register that was extended, as in "PCR4".
	Register string
	// Type as the log's specification names it, as in "EV_EFI_BOOT_SERVICES_APPLICATION". The type is
	// not covered by the digest.
	Type string
	// Digest that the register was extended with, in the bank that was replayed. It must not be
	// written to.
	Digest []byte
	// Role says what the event is about; RoleOther where nothing more is known.
	Role Role
	// What describes the event in words, from data that its digest covers; empty where the data are
	// not covered. Foreign text went through [Excerpt].
	What string
	// Text is the measured text, whole, of roles that measure a text (RoleCommandLine, RoleCommand);
	// empty for others and where the digest does not cover it.
	Text string
	// Entries are the entries of a signature database (RolePK to RoleDBX, RoleAuthority): hashes as
	// they stand, certificates by the SHA-256 of their DER. Nil for others.
	Entries [][]byte
}

// Role of an event. It says what a rule over events can speak of. The set is closed.
type Role string

// Roles of events. No digest covers what tells RoleCommand from RoleCommandLine: a log may call every
// command a command line, and every command line that does not begin like a path a command.
const (
	RoleOther       Role = "other"
	RoleFirmware    Role = "firmware"         // firmware version and volumes (PCR 0)
	RoleSecureBoot  Role = "secure-boot"      // the SecureBoot variable; Text is "on" or "off"
	RolePK          Role = "pk"               // platform key
	RoleKEK         Role = "kek"              // key exchange keys
	RoleDB          Role = "db"               // allowed signatures
	RoleDBX         Role = "dbx"              // forbidden signatures
	RoleAuthority   Role = "authority"        // the entry of db that vouched for an image (PCR 7)
	RoleApplication Role = "boot-application" // EFI image that was started (PCR 4); its Authenticode hash
	RoleDriver      Role = "boot-driver"      // EFI driver that was loaded (PCR 2)
	RoleKernel      Role = "kernel"           // kernel image, as the boot loader or the UKI measured it
	RoleInitrd      Role = "initrd"           // initial ramdisk
	RoleCommandLine Role = "command-line"     // kernel command line; Text is the line
	RoleCommand     Role = "boot-command"     // command of the boot loader (PCR 8); Text is the command
	RoleUKI         Role = "uki-section"      // any other section of a unified kernel image (PCR 11)
	RoleSeparator   Role = "separator"        // EV_SEPARATOR
	RoleExit        Role = "exit-boot-services"
	RoleFile        Role = "file" // a file that IMA measured; Text is its path
)

// Roles lists every role, in the order of the constants.
func Roles() []Role {
	return []Role{
		RoleOther, RoleFirmware, RoleSecureBoot, RolePK, RoleKEK, RoleDB, RoleDBX, RoleAuthority,
		RoleApplication, RoleDriver, RoleKernel, RoleInitrd, RoleCommandLine, RoleCommand, RoleUKI,
		RoleSeparator, RoleExit, RoleFile,
	}
}
