export type Keeper = {
    get: (name: string) => string | null;
    set: (name: string, value: string) => void;
    remove: (name: string) => void;
    /**
     * whether what is kept outlives the page
     */
    lasts: () => boolean;
};
export type StorageLike = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
/**
 * @typedef {object} Keeper
 * @property {(name: string) => string | null} get
 * @property {(name: string, value: string) => void} set
 * @property {(name: string) => void} remove
 * @property {() => boolean} lasts  whether what is kept outlives the page
 *
 * @typedef {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} StorageLike
 */
/**
 * @param {() => StorageLike | null | undefined} storage  where cookies are blocked, even to name it throws
 * @returns {Keeper}
 */
export declare function keeper(storage: () => StorageLike | null | undefined): Keeper;
