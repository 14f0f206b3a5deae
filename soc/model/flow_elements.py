"""The information elements of NetFlow v9 and IPFIX: number, name and abstract data type.

IANA's registry "IP Flow Information Export (IPFIX) Entities" (RFC 7012), which NetFlow v9 shares up to 127 (RFC 3954);
the reverse elements of RFC 5103; Cisco's numbers of NetFlow v9 and the enterprises 9 (Cisco), 2636 (Juniper), 5951
(NetScaler), 6871 (CERT), 35632 (ntop) as their exporters write them. Lists are RFC 6313's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

REVERSE = 29305
"""The enterprise of RFC 5103: the same element of the other direction of a biflow."""
NTOP = 35632
_PREFIXES = {0: "", REVERSE: "", 9: "cisco.", 2636: "juniper.", 5951: "netscaler.", 6871: "cert.", NTOP: "ntop."}
FIELD_TYPES: Mapping[str, str] = {
    "unsigned8": "long", "unsigned16": "long", "unsigned32": "long", "unsigned64": "ulong", "signed8": "long",
    "signed16": "long", "signed32": "long", "signed64": "long", "float32": "double", "float64": "double",
    "boolean": "bool", "macAddress": "keyword", "octetArray": "keyword", "string": "keyword",
    "dateTimeSeconds": "date", "dateTimeMilliseconds": "date", "dateTimeMicroseconds": "date",
    "dateTimeNanoseconds": "date", "ipv4Address": "ip", "ipv6Address": "ip", "basicList": "object",
    "subTemplateList": "object", "subTemplateMultiList": "object",
}  # fmt: skip
"""Abstract data type → type in the field dictionary. Octets are hex text, MAC addresses as in ECS (00-00-5E-…)."""


@dataclass(frozen=True)
class Element:
    """One information element; `field` is its name in an event: `netflow.octetDeltaCount`."""

    enterprise: int
    number: int
    name: str
    kind: str
    field: str


def _read(enterprise: int, text: str) -> Iterator[Element]:
    for line in text.strip().splitlines():
        kind, _, entries = line.partition(": ")
        for entry in entries.split():
            number, _, name = entry.partition("=")
            yield Element(enterprise, int(number), name, kind, f"netflow.{_PREFIXES[enterprise]}{name}")


_IANA = """
basicList: 291=basicList 484=bgpSourceCommunityList 485=bgpDestinationCommunityList 487=bgpSourceExtendedCommunityList
basicList: 488=bgpDestinationExtendedCommunityList 490=bgpSourceLargeCommunityList
basicList: 491=bgpDestinationLargeCommunityList 496=srhSegmentIPv6BasicList 511=bgpSourceAsPathList
basicList: 512=bgpDestinationAsPathList
boolean: 276=dataRecordsReliability 333=hashDigestOutput 388=dot1qDEI 389=dot1qCustomerDEI
dateTimeMicroseconds: 154=flowStartMicroseconds 155=flowEndMicroseconds 268=maxFlowEndMicroseconds
dateTimeMicroseconds: 271=minFlowStartMicroseconds 324=observationTimeMicroseconds
dateTimeMilliseconds: 152=flowStartMilliseconds 153=flowEndMilliseconds 160=systemInitTimeMilliseconds
dateTimeMilliseconds: 258=collectionTimeMilliseconds 269=maxFlowEndMilliseconds 272=minFlowStartMilliseconds
dateTimeMilliseconds: 323=observationTimeMilliseconds 359=monitoringIntervalStartMilliSeconds
dateTimeMilliseconds: 360=monitoringIntervalEndMilliSeconds
dateTimeNanoseconds: 156=flowStartNanoseconds 157=flowEndNanoseconds 270=maxFlowEndNanoseconds
dateTimeNanoseconds: 273=minFlowStartNanoseconds 325=observationTimeNanoseconds
dateTimeSeconds: 150=flowStartSeconds 151=flowEndSeconds 260=maxExportSeconds 261=maxFlowEndSeconds
dateTimeSeconds: 264=minExportSeconds 265=minFlowStartSeconds 322=observationTimeSeconds
float64: 311=samplingProbability 320=absoluteError 321=relativeError 336=upperCILimit 337=lowerCILimit
float64: 338=confidenceLevel
ipv4Address: 8=sourceIPv4Address 12=destinationIPv4Address 15=ipNextHopIPv4Address 18=bgpNextHopIPv4Address
ipv4Address: 43=ipv4RouterSc 44=sourceIPv4Prefix 45=destinationIPv4Prefix 47=mplsTopLabelIPv4Address
ipv4Address: 130=exporterIPv4Address 211=collectorIPv4Address 225=postNATSourceIPv4Address
ipv4Address: 226=postNATDestinationIPv4Address 366=staIPv4Address 403=originalExporterIPv4Address
ipv4Address: 432=pseudoWireDestinationIPv4Address 438=mibObjectValueIPAddress
ipv6Address: 27=sourceIPv6Address 28=destinationIPv6Address 62=ipNextHopIPv6Address 63=bgpNextHopIPv6Address
ipv6Address: 131=exporterIPv6Address 140=mplsTopLabelIPv6Address 169=destinationIPv6Prefix 170=sourceIPv6Prefix
ipv6Address: 212=collectorIPv6Address 281=postNATSourceIPv6Address 282=postNATDestinationIPv6Address
ipv6Address: 404=originalExporterIPv6Address 494=srhSegmentIPv6 495=srhActiveSegmentIPv6
macAddress: 56=sourceMacAddress 57=postDestinationMacAddress 80=destinationMacAddress 81=postSourceMacAddress
macAddress: 365=staMacAddress 367=wtpMacAddress 414=dot1qCustomerSourceMacAddress
macAddress: 415=dot1qCustomerDestinationMacAddress
octetArray: 70=mplsTopLabelStackSection 71=mplsLabelStackSection2 72=mplsLabelStackSection3 73=mplsLabelStackSection4
octetArray: 74=mplsLabelStackSection5 75=mplsLabelStackSection6 76=mplsLabelStackSection7 77=mplsLabelStackSection8
octetArray: 78=mplsLabelStackSection9 79=mplsLabelStackSection10 90=mplsVpnRouteDistinguisher 95=applicationId
octetArray: 104=layer2packetSectionData 210=paddingOctets 262=messageMD5Checksum 266=opaqueOctets
octetArray: 274=collectorCertificate 275=exporterCertificate 313=ipHeaderPacketSection 314=ipPayloadPacketSection
octetArray: 315=dataLinkFrameSection 316=mplsLabelStackSection 317=mplsPayloadPacketSection
octetArray: 347=virtualStationInterfaceId 349=virtualStationUUID 411=dot1qServiceInstanceTag
octetArray: 435=mibObjectValueOctetString 436=mibObjectValueOID 437=mibObjectValueBits 445=mibObjectIdentifier
octetArray: 449=mibContextEngineID 464=internalAddressRealm 465=externalAddressRealm 482=vpnIdentifier
octetArray: 486=bgpExtendedCommunity 489=bgpLargeCommunity 497=srhSegmentIPv6ListSection 499=srhIPv6Section
octetArray: 504=icmpHeaderPacketSection
signed32: 434=mibObjectValueInteger
string: 82=interfaceName 83=interfaceDescription 84=samplerName 94=applicationDescription 96=applicationName
string: 100=className 147=wlanSSID 236=VRFname 247=metroEvcId 284=natPoolName 288=p2pTechnology 289=tunnelTechnology
string: 290=encryptedTechnology 300=observationDomainName 335=selectorName 340=informationElementDescription
string: 341=informationElementName 348=virtualStationInterfaceName 350=virtualStationName 371=userName
string: 372=applicationCategoryName 373=applicationSubCategoryName 374=applicationGroupName 450=mibContextName
string: 451=mibObjectName 452=mibObjectDescription 453=mibObjectSyntax 454=mibModuleName 455=mobileIMSI
string: 456=mobileMSISDN 459=httpRequestMethod 460=httpRequestHost 461=httpRequestTarget 462=httpMessageVersion
string: 468=httpUserAgent 469=httpContentType 470=httpReasonPhrase
subTemplateList: 292=subTemplateList 443=mibObjectValueTable 444=mibObjectValueRow
subTemplateMultiList: 293=subTemplateMultiList
unsigned16: 6=tcpControlBits 7=sourceTransportPort 11=destinationTransportPort 32=icmpTypeCodeIPv4
unsigned16: 36=flowActiveTimeout 37=flowIdleTimeout 58=vlanId 59=postVlanId 88=fragmentOffset
unsigned16: 102=layer2packetSectionOffset 103=layer2packetSectionSize 139=icmpTypeCodeIPv6 145=templateId
unsigned16: 180=udpSourcePort 181=udpDestinationPort 182=tcpSourcePort 183=tcpDestinationPort 186=tcpWindowSize
unsigned16: 187=tcpUrgentPointer 190=totalLengthIPv4 191=payloadLengthIPv6 205=udpMessageLength
unsigned16: 216=collectorTransportPort 217=exporterTransportPort 227=postNAPTSourceTransportPort
unsigned16: 228=postNAPTDestinationTransportPort 238=tcpWindowScale 241=ethernetPayloadLength 242=ethernetTotalLength
unsigned16: 243=dot1qVlanId 245=dot1qCustomerVlanId 250=pseudoWireType 254=postDot1qVlanId 255=postDot1qCustomerVlanId
unsigned16: 256=ethernetType 259=exportSctpStreamId 285=anonymizationFlags 286=anonymizationTechnique
unsigned16: 287=informationElementIndex 303=informationElementId 304=selectorAlgorithm 312=dataLinkFrameSize
unsigned16: 345=informationElementUnits 361=portRangeStart 362=portRangeEnd 363=portRangeStepSize
unsigned16: 364=portRangeNumPorts 370=rtpSequenceNumber 390=flowSelectorAlgorithm 400=hashFlowDomain
unsigned16: 408=dataLinkFrameType 409=sectionOffset 410=sectionExportedOctets 457=httpStatusCode
unsigned16: 458=sourceTransportPortsLimit 493=srhTagIPv6 502=srhSegmentIPv6EndpointBehavior 503=transportChecksum
unsigned16: 508=gtpuSequenceNum
unsigned32: 10=ingressInterface 14=egressInterface 16=bgpSourceAsNumber 17=bgpDestinationAsNumber 21=flowEndSysUpTime
unsigned32: 22=flowStartSysUpTime 31=flowLabelIPv6 34=samplingInterval 50=samplerRandomInterval
unsigned32: 54=fragmentIdentification 64=ipv6ExtensionHeaders 87=flagsAndSamplerId 89=forwardingStatus
unsigned32: 92=srcTrafficIndex 93=dstTrafficIndex 99=multicastReplicationFactor 128=bgpNextAdjacentAsNumber
unsigned32: 129=bgpPrevAdjacentAsNumber 141=lineCardId 142=portId 143=meteringProcessId 144=exportingProcessId
unsigned32: 149=observationDomainId 158=flowStartDeltaMicroseconds 159=flowEndDeltaMicroseconds
unsigned32: 161=flowDurationMilliseconds 162=flowDurationMicroseconds 184=tcpSequenceNumber
unsigned32: 185=tcpAcknowledgementNumber 194=mplsPayloadLength 201=mplsLabelStackLength 202=mplsLabelStackDepth
unsigned32: 204=ipPayloadLength 208=ipv4Options 213=exportInterface 234=ingressVRFID 235=egressVRFID 249=pseudoWireId
unsigned32: 251=pseudoWireControlWord 252=ingressPhysicalInterface 253=egressPhysicalInterface
unsigned32: 278=newConnectionDeltaCount 283=natPoolId 295=IPSecSPI 296=greKey 305=samplingPacketInterval
unsigned32: 306=samplingPacketSpace 307=samplingTimeInterval 308=samplingTimeSpace 309=samplingSize
unsigned32: 310=samplingPopulation 346=privateEnterpriseNumber 368=ingressInterfaceType 369=egressInterfaceType
unsigned32: 380=distinctCountOfSourceIPv4Address 381=distinctCountOfDestinationIPv4Address
unsigned32: 385=rfc3550JitterMilliseconds 386=rfc3550JitterMicroseconds 387=rfc3550JitterNanoseconds
unsigned32: 405=originalObservationDomainId 406=intermediateProcessId 412=dot1qServiceInstanceId
unsigned32: 440=mibObjectValueGauge 441=mibObjectValueTimeTicks 442=mibObjectValueUnsigned 446=mibSubIdentifier
unsigned32: 463=natInstanceID 466=natQuotaExceededEvent 467=natThresholdEvent 471=maxSessionEntries 472=maxBIBEntries
unsigned32: 473=maxEntriesPerUser 474=maxSubscribers 475=maxFragmentsPendingReassembly 476=addressPoolHighThreshold
unsigned32: 477=addressPoolLowThreshold 478=addressPortMappingHighThreshold 479=addressPortMappingLowThreshold
unsigned32: 480=addressPortMappingPerUserHighThreshold 481=globalAddressMappingHighThreshold 483=bgpCommunity
unsigned32: 507=gtpuTEid
unsigned64: 1=octetDeltaCount 2=packetDeltaCount 3=deltaFlowCount 19=postMCastPacketDeltaCount
unsigned64: 20=postMCastOctetDeltaCount 23=postOctetDeltaCount 24=postPacketDeltaCount 25=minimumIpTotalLength
unsigned64: 26=maximumIpTotalLength 40=exportedOctetTotalCount 41=exportedMessageTotalCount
unsigned64: 42=exportedFlowRecordTotalCount 85=octetTotalCount 86=packetTotalCount 132=droppedOctetDeltaCount
unsigned64: 133=droppedPacketDeltaCount 134=droppedOctetTotalCount 135=droppedPacketTotalCount 137=commonPropertiesId
unsigned64: 138=observationPointId 148=flowId 163=observedFlowTotalCount 164=ignoredPacketTotalCount
unsigned64: 165=ignoredOctetTotalCount 166=notSentFlowTotalCount 167=notSentPacketTotalCount
unsigned64: 168=notSentOctetTotalCount 171=postOctetTotalCount 172=postPacketTotalCount 173=flowKeyIndicator
unsigned64: 174=postMCastPacketTotalCount 175=postMCastOctetTotalCount 198=octetDeltaSumOfSquares
unsigned64: 199=octetTotalSumOfSquares 209=tcpOptions 218=tcpSynTotalCount 219=tcpFinTotalCount 220=tcpRstTotalCount
unsigned64: 221=tcpPshTotalCount 222=tcpAckTotalCount 223=tcpUrgTotalCount 224=ipTotalLength 231=initiatorOctets
unsigned64: 232=responderOctets 279=connectionSumDurationSeconds 280=connectionTransactionId 298=initiatorPackets
unsigned64: 299=responderPackets 301=selectionSequenceId 302=selectorId 318=selectorIdTotalPktsObserved
unsigned64: 319=selectorIdTotalPktsSelected 326=digestHashValue 327=hashIPPayloadOffset 328=hashIPPayloadSize
unsigned64: 329=hashOutputRangeMin 330=hashOutputRangeMax 331=hashSelectedRangeMin 332=hashSelectedRangeMax
unsigned64: 334=hashInitialiserValue 342=informationElementRangeBegin 343=informationElementRangeEnd
unsigned64: 351=layer2SegmentId 352=layer2OctetDeltaCount 353=layer2OctetTotalCount 354=ingressUnicastPacketTotalCount
unsigned64: 355=ingressMulticastPacketTotalCount 356=ingressBroadcastPacketTotalCount
unsigned64: 357=egressUnicastPacketTotalCount 358=egressBroadcastPacketTotalCount 375=originalFlowsPresent
unsigned64: 376=originalFlowsInitiated 377=originalFlowsCompleted 378=distinctCountOfSourceIPAddress
unsigned64: 379=distinctCountOfDestinationIPAddress 382=distinctCountOfSourceIPv6Address
unsigned64: 383=distinctCountOfDestinationIPv6Address 391=flowSelectedOctetDeltaCount 392=flowSelectedPacketDeltaCount
unsigned64: 393=flowSelectedFlowDeltaCount 394=selectorIDTotalFlowsObserved 395=selectorIDTotalFlowsSelected
unsigned64: 396=samplingFlowInterval 397=samplingFlowSpacing 398=flowSamplingTimeInterval 399=flowSamplingTimeSpacing
unsigned64: 401=transportOctetDeltaCount 402=transportPacketDeltaCount 407=ignoredDataRecordTotalCount
unsigned64: 417=postLayer2OctetDeltaCount 418=postMCastLayer2OctetDeltaCount 420=postLayer2OctetTotalCount
unsigned64: 421=postMCastLayer2OctetTotalCount 422=minimumLayer2TotalLength 423=maximumLayer2TotalLength
unsigned64: 424=droppedLayer2OctetDeltaCount 425=droppedLayer2OctetTotalCount 426=ignoredLayer2OctetTotalCount
unsigned64: 427=notSentLayer2OctetTotalCount 428=layer2OctetDeltaSumOfSquares 429=layer2OctetTotalSumOfSquares
unsigned64: 430=layer2FrameDeltaCount 431=layer2FrameTotalCount 433=ignoredLayer2FrameTotalCount
unsigned64: 439=mibObjectValueCounter 447=mibIndexIndicator
unsigned8: 4=protocolIdentifier 5=ipClassOfService 9=sourceIPv4PrefixLength 13=destinationIPv4PrefixLength
unsigned8: 29=sourceIPv6PrefixLength 30=destinationIPv6PrefixLength 33=igmpType 35=samplingAlgorithm 38=engineType
unsigned8: 39=engineId 46=mplsTopLabelType 48=samplerId 49=samplerMode 51=classId 52=minimumTTL 53=maximumTTL
unsigned8: 55=postIpClassOfService 60=ipVersion 61=flowDirection 91=mplsTopLabelPrefixLength
unsigned8: 98=postIpDiffServCodePoint 101=classificationEngineId 136=flowEndReason 146=wlanChannelId 176=icmpTypeIPv4
unsigned8: 177=icmpCodeIPv4 178=icmpTypeIPv6 179=icmpCodeIPv6 188=tcpHeaderLength 189=ipHeaderLength 192=ipTTL
unsigned8: 193=nextHeaderIPv6 195=ipDiffServCodePoint 196=ipPrecedence 197=fragmentFlags 200=mplsTopLabelTTL
unsigned8: 203=mplsTopLabelExp 206=isMulticast 207=ipv4IHL 214=exportProtocolVersion 215=exportTransportProtocol
unsigned8: 229=natOriginatingAddressRealm 230=natEvent 233=firewallEvent 237=postMplsTopLabelExp 239=biflowDirection
unsigned8: 240=ethernetHeaderLength 244=dot1qPriority 246=dot1qCustomerPriority 248=metroEvcType 257=postIpPrecedence
unsigned8: 263=messageScope 267=sessionScope 277=observationPointType 294=bgpValidityState 297=natType
unsigned8: 339=informationElementDataType 344=informationElementSemantics 384=valueDistributionMethod
unsigned8: 413=dot1qServiceInstancePriority 448=mibCaptureTimeSemantics 492=srhFlagsIPv6 498=srhSegmentsIPv6Left
unsigned8: 500=srhIPv6ActiveSegmentType 501=srhSegmentIPv6LocatorLength 505=gtpuFlags 506=gtpuMsgType 509=gtpuQFI
unsigned8: 510=gtpuPduType
"""
_CISCO_V9 = """
ipv4Address: 40001=xlateSourceAddressIPv4 40002=xlateDestinationAddressIPv4
octetArray: 33000=ingressAclId 33001=egressAclId
string: 34002=sgtSourceName 34003=sgtDestinationName 40000=aaaUsername
unsigned16: 33002=fwExtEvent 34000=sgtSourceTag 34001=sgtDestinationTag 40003=xlateSourcePort
unsigned16: 40004=xlateDestinationPort
unsigned32: 33003=fwEventLevel 33004=fwEventLevelId 33005=fwConfiguredValue 35007=fwZonePairId
unsigned8: 40005=fwEvent
"""
_NOT_REVERSIBLE = frozenset((
    145, 148, 149, 137,  # identifiers that no single direction has
    130, 131, 173, 211, 212, 213, 214, 215, 216, 217,  # configuration of processes, RFC 5102 section 5.2
    40, 41, 42, 163, 164, 165, 166, 167, 168,  # their statistics, section 5.3
    210, 239,  # paddingOctets, biflowDirection
    *range(258, 274),  # of what is later: IPFIX files (RFC 5655),
    *range(301, 312), *range(318, 322), *range(326, 347),  # selectors (RFC 5477), types of elements (RFC 5610),
    *range(434, 454),  # objects of a MIB (RFC 8038)
))  # fmt: skip
"""What RFC 5103 section 6.1 names, and what came later and meets its criteria: the record as a whole has it."""
_CISCO = """
octetArray: 9357=applicationHttpUriStatistics 12235=subApplicationValue
unsigned32: 8232=policyQosClassificationHierarchy 9268=artCountRetransmissions 9272=artCountTransactions
unsigned32: 9273=artTotalTransactionTimeSum 9274=artTotalTransactionTimeMaximum 9275=artTotalTransactionTimeMinimum
unsigned32: 9282=artCountNewConnections 9292=artCountResponses 9300=artCountLateResponses 9303=artResponseTimeSum
unsigned32: 9304=artResponseTimeMaximum 9305=artResponseTimeMinimum 9306=artServerResponseTimeSum
unsigned32: 9307=artServerResponseTimeMaximum 9308=artServerResponseTimeMinimum 9309=artTotalResponseTimeSum
unsigned32: 9310=artTotalResponseTimeMaximum 9311=artTotalResponseTimeMinimum 9313=artNetworkTimeSum
unsigned32: 9314=artNetworkTimeMaximum 9315=artNetworkTimeMinimum 9316=artClientNetworkTimeSum
unsigned32: 9317=artClientNetworkTimeMaximum 9318=artClientNetworkTimeMinimum 9319=artServerNetworkTimeSum
unsigned32: 9320=artServerNetworkTimeMaximum 9321=artServerNetworkTimeMinimum 9360=policyQosQueueIndex
unsigned64: 9265=artClientPackets 9266=artServerPackets 9361=policyQosQueueDrops
unsigned8: 9252=waasOptimizationSegment
"""
_JUNIPER = """
string: 137=commonPropertiesId
"""
_NETSCALER = """
ipv4Address: 203=icaClientIP
octetArray: 192=connectionChainId 200=icaSessionGuid
string: 130=httpReqUrl 131=httpReqCookie 135=syslogMessage 140=httpReqReferer 141=httpReqMethod 142=httpReqHost
string: 143=httpReqUserAgent 152=appName 175=dbUserName 176=dbDatabaseName 177=dbCltHostName 178=dbReqString
string: 179=dbRespStatusString 183=httpContentType 185=httpReqAuthorization 186=httpReqVia 187=httpResLocation
string: 188=httpResSetCookie 190=httpReqXForwardedFor 204=icaClientHostName 205=aaaUsername 207=icaDomainName
string: 210=icaServerName 238=icaApplicationName 250=icaUsername 267=httpDomainName
unsigned16: 144=httpRspStatus
unsigned32: 128=roundTripTime 129=transactionId 133=connectionId 150=appNameIncarnationNumber 151=appNameAppId
unsigned32: 161=mainPageId 162=mainPageCoreId 171=appUnitNameAppId 172=dbLoginFlags 182=clientRTT 215=icaRTT
unsigned64: 132=flowFlags 136=syslogTimestamp 145=httpRspLen 146=serverTTFB 147=serverTTLB 153=httpReqRcvFB
unsigned64: 156=httpReqForwFB 157=httpResRcvFB 158=httpResForwFB 159=httpReqRcvLB 160=httpReqForwLB 169=httpResRcvLB
unsigned64: 170=httpResForwLB 180=dbRespStatus 181=dbRespLength
unsigned8: 134=syslogPriority 173=dbReqType 174=dbProtocolName
"""
_CERT = """
octetArray: 18=payload 38=firstPacketBanner 39=secondPacketBanner 185=sslCipher 190=sslCertSignature
octetArray: 244=sslCertSerialNumber 245=sslObjectType 246=sslObjectValue 249=sslPublicKeyAlgorithm
octetArray: 250=sslPublicKeyLength 295=sslCertificateHash 16402=reversePayload 16422=reverseFirstPacketBanner
octetArray: 16423=reverseSecondPacketBanner
string: 36=osName 37=osVersion 107=osFingerPrint 126=tftpFilename 127=tftpMode 179=dnsQName 180=dnsCName
string: 182=dnsMXExchange 183=dnsNSDName 184=dnsPTRDName 208=dnsTXTData 214=dnsSOAMName 215=dnsSOARName
string: 247=sslCertValidityNotBefore 248=sslCertValidityNotAfter 294=sslServerName 16420=reverseOsName
string: 16421=reverseOsVersion
unsigned16: 33=silkAppLabel 40=flowAttributes 175=dnsQRType 181=dnsMXPreference 216=dnsSRVPriority 217=dnsSRVWeight
unsigned16: 218=dnsSRVPort 226=dnsID 505=firstNonEmptyPacketSize 506=maxPacketSize 16424=reverseFlowAttributes
unsigned16: 16889=reverseFirstNonEmptyPacketSize 16890=reverseMaxPacketSize
unsigned32: 21=reverseFlowDeltaMilliseconds 100=expiredFragmentCount 101=assembledFragmentCount 102=meanFlowRate
unsigned32: 103=meanPacketRate 104=flowTableFlushEventCount 105=flowTablePeakCount 187=sslServerCipher 199=dnsTTL
unsigned32: 223=tcpUrgTotalCount 500=smallPacketCount 501=nonEmptyPacketCount 510=largePacketCount
unsigned32: 16884=reverseSmallPacketCount 16885=reverseNonEmptyPacketCount 16894=reverseLargePacketCount
unsigned64: 502=dataByteCount 503=averageInterarrivalTime 504=standardDeviationInterarrivalTime
unsigned64: 16886=reverseDataByteCount 16887=reverseAverageInterarrivalTime
unsigned8: 14=initialTCPFlags 15=unionTCPFlags 35=payloadEntropy 174=dnsQueryResponse 176=dnsAuthoritative
unsigned8: 177=dnsNXDomain 178=dnsRRSection 186=sslClientVersion 188=sslCompressionMethod 189=sslCertVersion
unsigned8: 287=rtpPayloadType 507=firstEightNonEmptyPacketDirections 16398=reverseInitialTCPFlags
unsigned8: 16399=reverseUnionTCPFlags 16419=reversePayloadEntropy
"""
_NTOP = """
ipv4Address: 114=UNTUNNELED_IPV4_SRC_ADDR 116=UNTUNNELED_IPV4_DST_ADDR 354=DHCP_CLIENT_IP
ipv6Address: 396=UNTUNNELED_IPV6_SRC_ADDR 397=UNTUNNELED_IPV6_DST_ADDR
macAddress: 353=DHCP_CLIENT_MAC
string: 101=SRC_IP_COUNTRY 102=SRC_IP_CITY 103=DST_IP_COUNTRY 104=DST_IP_CITY 119=L7_PROTO_NAME 121=FLOW_USER_NAME
string: 122=FLOW_SERVER_NAME 126=PLUGIN_NAME 130=SIP_CALL_ID 131=SIP_CALLING_PARTY 132=SIP_CALLED_PARTY
string: 169=SRC_PROC_NAME 180=HTTP_URL 182=HTTP_REFERER 183=HTTP_UA 184=HTTP_MIME 185=SMTP_MAIL_FROM 186=SMTP_RCPT_TO
string: 187=HTTP_HOST 188=SSL_SERVER_NAME 189=BITTORRENT_HASH 196=MYSQL_USERNAME 197=MYSQL_DB 198=MYSQL_QUERY
string: 200=ORACLE_USERNAME 201=ORACLE_QUERY 205=DNS_QUERY 210=POP_USER 242=RADIUS_USER_NAME 260=IMAP_LOGIN
string: 355=DHCP_CLIENT_NAME 356=FTP_LOGIN 358=FTP_COMMAND 360=HTTP_METHOD 361=HTTP_SITE 372=SRC_PROC_USER_NAME
string: 376=DST_PROC_NAME 377=DST_PROC_USER_NAME 398=DNS_RESPONSE 427=APPLICATION_NAME 428=USER_NAME
string: 460=HTTP_X_FORWARDED_FOR
unsigned16: 115=UNTUNNELED_L4_SRC_PORT 117=UNTUNNELED_L4_DST_PORT 118=L7_PROTO
unsigned64: 80=SRC_FRAGMENTS 81=DST_FRAGMENTS 82=SRC_TO_DST_MAX_THROUGHPUT 83=SRC_TO_DST_MIN_THROUGHPUT
unsigned64: 84=SRC_TO_DST_AVG_THROUGHPUT 107=LONGEST_FLOW_PKT 108=SHORTEST_FLOW_PKT 109=RETRANSMITTED_IN_PKTS
unsigned64: 110=RETRANSMITTED_OUT_PKTS 111=OOORDER_IN_PKTS 112=OOORDER_OUT_PKTS 123=CLIENT_NW_LATENCY_MS
unsigned64: 124=SERVER_NW_LATENCY_MS 125=APPL_LATENCY_MS 127=RETRANSMITTED_IN_BYTES 128=RETRANSMITTED_OUT_BYTES
unsigned64: 168=SRC_PROC_PID 181=HTTP_RET_CODE 206=DNS_QUERY_ID 207=DNS_QUERY_TYPE 208=DNS_RET_CODE
unsigned64: 209=DNS_NUM_ANSWERS 352=DNS_TTL_ANSWER 375=DST_PROC_PID 391=DURATION_IN 392=DURATION_OUT
unsigned8: 113=UNTUNNELED_PROTOCOL
"""

_FORWARD: Mapping[tuple[int, int], Element] = {
    (element.enterprise, element.number): element
    for enterprise, text in (
        (0, _IANA),
        (0, _CISCO_V9),
        (9, _CISCO),
        (2636, _JUNIPER),
        (5951, _NETSCALER),
        (6871, _CERT),
        (NTOP, _NTOP),
    )
    for element in _read(enterprise, text)
}


def _reverse(element: Element) -> Element:
    name = f"reverse{element.name[0].upper()}{element.name[1:]}"
    return Element(REVERSE, element.number, name, element.kind, f"netflow.{name}")


ELEMENTS: Mapping[tuple[int, int], Element] = {
    **_FORWARD,
    **{
        (REVERSE, element.number): _reverse(element)
        for element in _read(0, _IANA)
        if element.number not in _NOT_REVERSIBLE
    },
}
"""By enterprise (0 = IANA) and number."""


def field_table() -> str:
    """The elements as lines of the field dictionary: `long: netflow.a netflow.b`."""
    return "\n".join(f"{FIELD_TYPES[element.kind]}: {element.field}" for element in ELEMENTS.values())
