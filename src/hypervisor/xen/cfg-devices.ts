/** Network cards and PCI devices of an xl.cfg (xl-network-configuration(5), xl-pci-configuration(5)). Pure. */
import { pciAddress } from '../../config/pci.ts';
import { macOf } from '../../model/nic-address.ts';
import type { VmConfig } from '../../model/vm.ts';

/** Gives a specification for each card, by their ids; `undefined` without any. */
export function nicSpecs({ uuid, nics = [] }: VmConfig): string[] | undefined {
  if (nics.length === 0) return undefined;
  return nics
    .toSorted((a, b) => a.id - b.id)
    .map((nic) => {
      const { bridge, model } = nic;
      return [
        `mac=${macOf(uuid, nic)}`,
        ...(bridge === undefined ? [] : [`bridge=${bridge}`]),
        ...(model === undefined ? [] : [`model=${model}`]),
      ].join(',');
    });
}

/** Gives a specification for each PCI device, by their ids; `undefined` without any. */
export function pciSpecs({ pciDevices = [] }: VmConfig): string[] | undefined {
  if (pciDevices.length === 0) return undefined;
  return pciDevices
    .toSorted((a, b) => a.id - b.id)
    .map((pci) => {
      const { isSeized, msiTranslate, powerManagement } = pci;
      return [
        pciAddress(pci),
        ...(msiTranslate === undefined ? [] : [`msitranslate=${Number(msiTranslate)}`]),
        ...(powerManagement === undefined ? [] : [`power_mgmt=${Number(powerManagement)}`]),
        ...(isSeized ? ['seize=1'] : []),
      ].join(',');
    });
}
