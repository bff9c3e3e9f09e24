import { start } from "../shell/shell.js";
import strings from "./strings.js";

start(strings);
