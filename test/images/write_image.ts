export { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";
