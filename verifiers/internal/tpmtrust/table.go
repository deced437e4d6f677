package tpmtrust

// use says which chains may end in a root.
type use string

const (
	useEndorsement use = "endorsement"
	useGCE         use = "gce"
	useAzure       use = "azure"
)

// pinnedRoot names one root that is compiled in, by the SHA-256 of its DER. sources are the public
// repositories in which the same bytes were found; fingerprints that vendors print were compared
// there, not here.
type pinnedRoot struct {
	vendor  string
	use     use
	sha256  string
	sources string
}

// pinned are the roots that are trusted without being loaded by hand. Beside a root must be no
// simulator's and no software TPM's.
var pinned = []pinnedRoot{
	{
		vendor: "AMD", use: useEndorsement,
		sha256:  "b73f14dea3bdaa0be87440de3fc718c771f2cbf8b7b2231c6ea228d3b20860ef",
		sources: "fobnail ibmtss tpm2-tss tpm_roots",
	},
	{
		vendor: "AMD", use: useEndorsement,
		sha256:  "c2cb57bf723c174f166c5aa1dc64160981054bee18c70eb1debfc1518afa92d2",
		sources: "ibmtss tpm2-tss tpm_roots",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "ee0c827555c4e9012037df4257bb8aaa26084a17b13ede41cd7895c8d6c11190",
		sources: "tpm-ca-certificates wolfTPM tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "5a84cc3476221cce5be81af8d755d175fea03d208b3412a231710c56774542fd",
		sources: "tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "cfeb02fecd55ad7a73c6e1d11985d4c47dee248ab63dcb66091a2489660443c3",
		sources: "keylime tpm-ca-certificates wolfTPM ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "b413c71580af3ec5efe83fad31db2d4af4612355e3b01e50903b10763d738894",
		sources: "tpm-ca-certificates fobnail wolfTPM tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "976b0579c016741b0003bf8055e920ab08f72abc819547b3480b0c141e956b70",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Infineon", use: useEndorsement,
		sha256:  "899e35474c9807eb4c7f2f7a12da0028fb250cd02154d0009fca7d9c66574f3b",
		sources: "keylime tpm-ca-certificates fobnail wolfTPM ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Intel", use: useEndorsement,
		sha256:  "beb40bb7507b33967226aa80e084749fbb6593893c642e818d682e9a8d07fc24",
		sources: "tpm-ca-certificates tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Intel", use: useEndorsement,
		sha256:  "2e1b3ba79af56d758be51697621bc4b9e8cee0983db3e749c55eb9b37c6d2ae0",
		sources: "keylime ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Microsoft", use: useEndorsement,
		sha256:  "32ab5fe7cb4396659fcb621ca14c6fb8fc2420f64050637d77e45a86c5d3916e",
		sources: "tpm-ca-certificates tpm_roots guard-oss",
	},
	{
		vendor: "Nationz", use: useEndorsement,
		sha256:  "1293d71d6f61c86b98102fd3d4085ff12538f108e925489c0d545059e5f89c36",
		sources: "ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "NSING", use: useEndorsement,
		sha256:  "6ccf8a8a803d07a002a15d4889ffa0b125e4a82a1fe4211db3c6e8592919f9dc",
		sources: "tpm-ca-certificates tpm_roots",
	},
	{
		vendor: "NSING", use: useEndorsement,
		sha256:  "72ca00612395af027cd84c5514219f110e964dfa0bfc1efbb3ac147e3b173971",
		sources: "tpm-ca-certificates tpm_roots",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "083e7bd13e8fe0bb9b0c64db9e0c8356681df65714d2d5c4925eb98ae1369d40",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "56b67007f448bd5c5746299fcdea9323971bbdaaefd8e3b9b84773abc888c90e",
		sources: "keylime fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "8fac94b462b37acb84431bdc71395585caf518c17f656051ff9c4347a4726ed9",
		sources: "keylime fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "9e0434093fd0d4f8b927af1f4f6cffbd75f0584af4ade939bbd6851227fa4263",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "887bc9658ffc6ad7f4eeb85c8819772ff609ee64c4dac4a6dca654a39e94b289",
		sources: "keylime ibmtss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "38f8c5012d1b1321e833376611612b5b1cde466574cabc67fd2262e3b8da2f6d",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "ad392726a92f62e5b7b112460c4e89f9fcbd523d08f39dcb928210ce8d4f676f",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "2782e51a95e86d9557fe4204316cf805bd6f5898f81f9732e944d742bcdc5f54",
		sources: "keylime tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "e38c280f7c0e0b49f31efc7531032bb6a86c3fba4eb89beb1d510eaa4510ae4a",
		sources: "keylime tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "970b1cb098896f0d31be45dd299ed31f1640689f7c1618d7370cd71b6eb97560",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "ab6005053c48534c46f54d2afbbd300a99f7b0e3ab1786034cb0785ca081a7ba",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "dc79aaba3d09f42a9da4ecd91db0289214e56c16e4201be6ae67433ad273c6dc",
		sources: "fobnail tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "4aebe77a51ed29959a7f9f5e07a24a558dee8167f3985d724995a541c258dfda",
		sources: "keylime ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "cd8185ff8995ed09811970090a8c36fafab34ef87f47fa51fdb9ecf95c9c2e04",
		sources: "keylime tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "66e3a1013d4f697700f731e7d68c69b58351f90ec9580d85862d020ab4abf1af",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "ba70a6ea7b77c7fee8947a07b1e70e0b26d39ce5e6307f63d5e4b9507f19a157",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "fc61abbc18100f460205ebe09d8c3e6995ac2be2234344a7facb62e15f9a7584",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots",
	},
	{
		vendor: "Nuvoton", use: useEndorsement,
		sha256:  "2bbc5db224b8f28a6d2cf336d4da7ab21c8c490e3d60ef497801dc0b6ac00227",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots",
	},
	{
		vendor: "STMicroelectronics", use: useEndorsement,
		sha256:  "5a8c7b5eb888cfce9322068e80e82b28b554ffeb7fdc9638dcb3763077401d26",
		sources: "tpm-ca-certificates ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "STMicroelectronics", use: useEndorsement,
		sha256:  "f27bf02c6e00c73d915eeb6a6a2f5fbf0c31ae0393149e6b5c31e41b113841c3",
		sources: "keylime tpm-ca-certificates fobnail ibmtss tpm2-tss tpm_roots guard-oss",
	},
	{
		vendor: "STMicroelectronics", use: useEndorsement,
		sha256:  "fd1e7b68accd825636b27b3177c67402d463a7f04c97b6c47ab705fcdc1a04f6",
		sources: "tpm-ca-certificates wolfTPM tpm_roots",
	},
	{
		vendor: "STMicroelectronics", use: useEndorsement,
		sha256:  "c8f179943356e13d9d84b100201cefabbf408880241e5329e60d950ce1dea623",
		sources: "tpm-ca-certificates wolfTPM tpm_roots",
	},
	{
		vendor: "Google", use: useGCE,
		sha256:  "594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2",
		sources: "go-tpm-tools openpcc",
	},
	{
		vendor: "Google", use: useGCE,
		sha256:  "9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf",
		sources: "go-tpm-tools",
	},
	{
		vendor: "Microsoft Azure", use: useAzure,
		sha256:  "e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95",
		sources: "cmcp openpcc",
	},
}
