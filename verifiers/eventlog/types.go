package eventlog

// Event types: PFP 1.06 section 10.4.1 table "Events", and those of older revisions that logs still
// have.
const (
	evPrebootCert          = 0x00000000
	evPostCode             = 0x00000001
	evNoAction             = 0x00000003
	evSeparator            = 0x00000004
	evAction               = 0x00000005
	evEventTag             = 0x00000006
	evSCRTMContents        = 0x00000007
	evSCRTMVersion         = 0x00000008
	evCPUMicrocode         = 0x00000009
	evPlatformConfigFlags  = 0x0000000a
	evTableOfDevices       = 0x0000000b
	evCompactHash          = 0x0000000c
	evIPL                  = 0x0000000d
	evIPLPartitionData     = 0x0000000e
	evNonhostCode          = 0x0000000f
	evNonhostConfig        = 0x00000010
	evNonhostInfo          = 0x00000011
	evOmitBootDeviceEvents = 0x00000012
	evPostCode2            = 0x00000013

	evVariableDriverConfig = 0x80000001
	evVariableBoot         = 0x80000002
	evApplication          = 0x80000003
	evBootServicesDriver   = 0x80000004
	evRuntimeDriver        = 0x80000005
	evGPT                  = 0x80000006
	evEFIAction            = 0x80000007
	evFirmwareBlob         = 0x80000008
	evHandoffTables        = 0x80000009
	evFirmwareBlob2        = 0x8000000a
	evHandoffTables2       = 0x8000000b
	evVariableBoot2        = 0x8000000c
	evGPT2                 = 0x8000000d
	evHCRTM                = 0x80000010
	evVariableAuthority    = 0x800000e0
	evSPDMFirmwareBlob     = 0x800000e1
	evSPDMFirmwareConfig   = 0x800000e2
	evSPDMDevicePolicy     = 0x800000e3
	evSPDMDeviceAuthority  = 0x800000e4
)

// typeName returns the type as its specification names it.
func typeName(kind uint32) string {
	switch kind {
	case evPrebootCert:
		return "EV_PREBOOT_CERT"
	case evPostCode:
		return "EV_POST_CODE"
	case evNoAction:
		return "EV_NO_ACTION"
	case evSeparator:
		return "EV_SEPARATOR"
	case evAction:
		return "EV_ACTION"
	case evEventTag:
		return "EV_EVENT_TAG"
	case evSCRTMContents:
		return "EV_S_CRTM_CONTENTS"
	case evSCRTMVersion:
		return "EV_S_CRTM_VERSION"
	case evCPUMicrocode:
		return "EV_CPU_MICROCODE"
	case evPlatformConfigFlags:
		return "EV_PLATFORM_CONFIG_FLAGS"
	case evTableOfDevices:
		return "EV_TABLE_OF_DEVICES"
	case evCompactHash:
		return "EV_COMPACT_HASH"
	case evIPL:
		return "EV_IPL"
	case evIPLPartitionData:
		return "EV_IPL_PARTITION_DATA"
	case evNonhostCode:
		return "EV_NONHOST_CODE"
	case evNonhostConfig:
		return "EV_NONHOST_CONFIG"
	case evNonhostInfo:
		return "EV_NONHOST_INFO"
	case evOmitBootDeviceEvents:
		return "EV_OMIT_BOOT_DEVICE_EVENTS"
	case evPostCode2:
		return "EV_POST_CODE2"
	default:
		return efiTypeName(kind)
	}
}

func efiTypeName(kind uint32) string {
	switch kind {
	case evVariableDriverConfig:
		return "EV_EFI_VARIABLE_DRIVER_CONFIG"
	case evVariableBoot:
		return "EV_EFI_VARIABLE_BOOT"
	case evApplication:
		return "EV_EFI_BOOT_SERVICES_APPLICATION"
	case evBootServicesDriver:
		return "EV_EFI_BOOT_SERVICES_DRIVER"
	case evRuntimeDriver:
		return "EV_EFI_RUNTIME_SERVICES_DRIVER"
	case evGPT:
		return "EV_EFI_GPT_EVENT"
	case evEFIAction:
		return "EV_EFI_ACTION"
	case evFirmwareBlob:
		return "EV_EFI_PLATFORM_FIRMWARE_BLOB"
	case evHandoffTables:
		return "EV_EFI_HANDOFF_TABLES"
	case evFirmwareBlob2:
		return "EV_EFI_PLATFORM_FIRMWARE_BLOB2"
	case evHandoffTables2:
		return "EV_EFI_HANDOFF_TABLES2"
	case evVariableBoot2:
		return "EV_EFI_VARIABLE_BOOT2"
	case evGPT2:
		return "EV_EFI_GPT_EVENT2"
	case evHCRTM:
		return "EV_EFI_HCRTM_EVENT"
	case evVariableAuthority:
		return "EV_EFI_VARIABLE_AUTHORITY"
	case evSPDMFirmwareBlob:
		return "EV_EFI_SPDM_FIRMWARE_BLOB"
	case evSPDMFirmwareConfig:
		return "EV_EFI_SPDM_FIRMWARE_CONFIG"
	case evSPDMDevicePolicy:
		return "EV_EFI_SPDM_DEVICE_POLICY"
	case evSPDMDeviceAuthority:
		return "EV_EFI_SPDM_DEVICE_AUTHORITY"
	default:
		return hexName("event type 0x", kind, 8)
	}
}
